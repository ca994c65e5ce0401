"""A client of the Prefect server that is configured, whose refusals are one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL

from cracks.errors import CracksError


class DeploymentError(CracksError):
    """Prefect's server refuses, or what is to be deployed to it is wrong."""


@contextmanager
def connected() -> Iterator[SyncPrefectClient]:
    """Yield a client of the standing server.

    Raises:
        DeploymentError: none is configured, it does not answer, or it refuses a request.
    """
    url = PREFECT_API_URL.value()
    if not url:
        raise DeploymentError(
            "No Prefect server is named. Set PREFECT_API_URL, e.g. http://127.0.0.1:4200/api."
        )
    try:
        with get_client(sync_client=True) as client:
            yield client
    except PrefectHTTPStatusError as error:
        response = error.response
        said = " ".join(response.text.split())[:200]
        raise DeploymentError(
            f"Prefect refuses {error.request.method} {error.request.url}: {response.status_code} "
            f"{response.reason_phrase} {said}. Check PREFECT_API_AUTH_STRING and the server's log."
        ) from None
    except httpx.TransportError as error:
        raise DeploymentError(
            f"Prefect does not answer at {url} ({error}). Start it, then run the same again."
        ) from None
