"""The record of predictions: what monitoring and `cracks trace` need to know of every prediction.

    answers/2026-11-21/20261121T161422417Z-161426003Z-web7-4711-qkzmwe-000007.parquet

One row a prediction. A service process keeps its predictions in memory for at most five seconds,
then writes them as a part; every process writes its own parts and merges them, so none waits for
another (see `part_files`). The place is a folder or an `s3://` prefix.
"""
