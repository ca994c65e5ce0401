"""Where the cluster is, as the environment says; without an address all work is done here."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from cracks.errors import ClusterError

#: The variable that Dask itself reads, and the place that this process and the workers share.
ADDRESS, STORE = "DASK_SCHEDULER_ADDRESS", "CRACKS_CLUSTER_STORE"


@dataclass(frozen=True)
class ClusterSettings:
    """The address of the scheduler, and of the store."""

    address: str
    store: str


def cluster_settings() -> ClusterSettings | None:
    """Return where the cluster is, or None if this machine does the work.

    Raises:
        ClusterError: the address is none, or there is no store.
    """
    address, store = os.environ.get(ADDRESS, ""), os.environ.get(STORE, "")
    if not address:
        return None
    if not re.fullmatch(r"(\w+://)?[^\s/]+:\d+", address):
        raise ClusterError(
            f"{ADDRESS}={address!r} is no address of a scheduler. Write tcp://HOST:8786, or unset "
            "it to work on this machine."
        )
    if not store:
        raise ClusterError(
            f"{ADDRESS} is set, but {STORE} is not. Set it to s3://BUCKET/PREFIX, or to a folder "
            "that all workers share: shards are read there, and results written."
        )
    return ClusterSettings(address, store)
