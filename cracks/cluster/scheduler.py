"""Connect to a scheduler, and check that every worker computes what this process would."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from distributed import Client

from cracks.cluster.settings import ADDRESS, ClusterSettings
from cracks.cluster.versions import differences, own_versions
from cracks.cluster.worker import Unfit, require_fit
from cracks.errors import ClusterError, ClusterUnavailable, one_line

#: Seconds to reach the scheduler, and until it must have a worker.
CONNECT_TIMEOUT, WORKERS_TIMEOUT = 10.0, 60.0

#: Seconds that closing may take where the scheduler is gone.
CLOSE_TIMEOUT = 2.0

#: What a scheduler must have, too: how things are sent depends on it.
OF_SCHEDULER = ("python", "dask", "distributed")


def connect(settings: ClusterSettings, sample: str | None) -> Client:
    """Return a client of a cluster after checking all its workers.

    Args:
        settings: where the cluster is.
        sample: an image that every worker must see, or None.

    Raises:
        ClusterUnavailable: no scheduler responds, or there is no worker.
        ClusterError: a scheduler or worker has other versions, or a worker has no access.
    """
    client = reach(settings.address)
    try:
        _require_same_scheduler(client)
        _require_workers(client, settings)
        for address, reason in _unfit(client, settings, sample).items():
            raise ClusterError(f"The worker {address} cannot take part: {reason}.")
    except OSError as error:
        close(client)
        raise ClusterUnavailable(
            f"The scheduler at {settings.address} went away ({one_line(error)}). "
            "Run it again; what is done is kept."
        ) from None
    except BaseException:
        close(client)
        raise
    return client


def reach(address: str) -> Client:
    """Return a client of the scheduler; its workers are not checked.

    Raises:
        ClusterUnavailable: no scheduler responds.
    """
    # Dask logs a lost connection in many lines; here it becomes one.
    for name in ("distributed", "tornado", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of versions, which are compared below
            return Client(address, timeout=CONNECT_TIMEOUT, set_as_default=False, name="cracks")
    except (OSError, TimeoutError, ValueError, TypeError) as error:
        raise ClusterUnavailable(
            f"No Dask scheduler responds at {address} ({one_line(error)}). Start one "
            f"(`dask scheduler`), correct {ADDRESS}, or unset it to work on this machine."
        ) from None


def close(client: Client) -> None:
    """Close the client; do not wait for a scheduler that is gone."""
    with suppress(Exception):
        client.close(timeout=CLOSE_TIMEOUT)


def dashboard_link(settings: ClusterSettings) -> str:
    """Return the address of Dask's own dashboard.

    Raises:
        ClusterUnavailable: no scheduler responds.
    """
    client = reach(settings.address)
    try:
        return str(client.dashboard_link)
    finally:
        close(client)


def tell(client: Client, settings: ClusterSettings) -> None:
    """Print to standard error which cluster is used, and its dashboard."""
    threads = client.nthreads()
    print(
        f"  {settings.address}: {len(threads)} workers, {sum(threads.values())} threads; "
        f"dashboard {client.dashboard_link}",
        file=sys.stderr,
        flush=True,
    )


def _require_same_scheduler(client: Client) -> None:
    found = client.get_versions(check=False)
    scheduler = _of_dask(found["scheduler"])
    if different := differences(scheduler, _chosen(own_versions())):
        raise ClusterError(
            f"The scheduler at {client.scheduler.address} has {', '.join(different)}. "
            "Deploy the image of this commit there."
        )
    for address, one in found["workers"].items():
        # Dask reports these: with other versions the worker may be unable to run our own check.
        if different := differences(_of_dask(one), _chosen(own_versions())):
            raise ClusterError(
                f"The worker {address} cannot take part: it has {', '.join(different)}. "
                "Deploy the image of this commit there."
            )


def _of_dask(found: Mapping[str, Any]) -> dict[str, str]:
    packages = found["packages"]
    python = ".".join(str(packages["python"]).split(".")[:2])
    return {name: str(packages[name]) for name in OF_SCHEDULER} | {"python": python}


def _chosen(versions: Mapping[str, str]) -> dict[str, str]:
    return {name: versions[name] for name in OF_SCHEDULER}


def _require_workers(client: Client, settings: ClusterSettings) -> None:
    with suppress(TimeoutError):
        client.wait_for_workers(1, timeout=WORKERS_TIMEOUT)
        return
    raise ClusterUnavailable(
        f"The scheduler at {settings.address} has had no worker for {WORKERS_TIMEOUT:.0f} s. "
        "Start one: see docs/operations.md."
    )


def _unfit(client: Client, settings: ClusterSettings, sample: str | None) -> dict[str, str]:
    """Return the workers that cannot take part, each with the reason."""
    try:
        responses = client.run(
            require_fit, settings.store, dict(own_versions()), sample, on_error="return"
        )
    except Exception as error:  # of a worker that does not have the function
        responses = {"(one of them)": error}
    return {
        address: (
            str(response)
            if isinstance(response, Unfit)
            else f"it cannot run this project's code ({one_line(response)})"
        )
        for address, response in responses.items()
        # One that ended meanwhile does not count.
        if response is not None and not isinstance(response, OSError)
    }
