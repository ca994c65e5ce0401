"""The same work on a Dask cluster, piece by piece: workers read and write a store, nothing else.

    this process                the store (S3, or a folder)         workers
    names the pieces   ──────►  files/md5/…     shards       ──────►  read
    waits, takes the results    networks/…      what computes  once a process
    stores them as locally  ◄── features/… …    results      ◄──────  write, each whole

`DASK_SCHEDULER_ADDRESS` is the switch, `CRACKS_CLUSTER_STORE` the place; both are read by
`cracks.cluster.settings`. This package alone knows Dask.
"""
