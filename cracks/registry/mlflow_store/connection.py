"""Reach the tracking store, and say in this project's errors what it refused."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from filelock import FileLock

from cracks.errors import TrackingError, TrackingUnavailable
from cracks.workspace.paths import Paths

if TYPE_CHECKING:
    from mlflow import MlflowClient

URI_VARIABLE = "MLFLOW_TRACKING_URI"

#: MLflow's largest length of the value of a parameter and of a tag.
LONGEST_PARAM, LONGEST_TAG = 6000, 5000

#: What to do about what a server refuses, by the status of its response.
REMEDIES = {
    401: " Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to an account that it knows.",
    403: " Ask whoever runs the server to allow it to your account, or this name of the server.",
}


class Connection:
    """One MLflow client: to MLFLOW_TRACKING_URI, or to the sqlite database in the workspace."""

    def __init__(self, paths: Paths) -> None:
        """Make the client, and the folder of a local store; no request is sent yet."""
        import mlflow

        self.uri = tracking_uri(paths)
        #: Where the experiments of a local store keep their files; a server knows that itself.
        self.artifacts: str | None = None
        self._lock = paths.local_tracking / "mlflow.lock"
        if self.is_local:
            paths.local_tracking.mkdir(parents=True, exist_ok=True)
            self.artifacts = (paths.local_tracking / "artifacts").as_uri()
        with self.alone(), self.explained():
            self.client: MlflowClient = mlflow.MlflowClient(self.uri, self.uri)

    @property
    def is_local(self) -> bool:
        """Whether this process itself writes the database."""
        return self.uri.startswith("sqlite:")

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes of this workspace from making the same thing at once.

        Two that make the local database, or an experiment in it, at once spoil it. A server looks
        after that itself.
        """
        with ExitStack() as stack:
            if self.is_local:
                stack.enter_context(FileLock(self._lock))
            yield

    @contextmanager
    def current(self) -> Iterator[None]:
        """Point MLflow's global functions here, and back, the variable that they set too."""
        import mlflow

        variable = os.environ.get(URI_VARIABLE)
        mlflow.set_tracking_uri(self.uri)
        mlflow.set_registry_uri(self.uri)
        try:
            yield
        finally:
            mlflow.set_tracking_uri(None)
            mlflow.set_registry_uri(None)
            os.environ.pop(URI_VARIABLE, None)
            if variable is not None:
                os.environ[URI_VARIABLE] = variable

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn what MLflow and its HTTP client raise into this project's errors."""
        import requests
        from mlflow.exceptions import MlflowException

        try:
            yield
        except requests.exceptions.RequestException as error:
            response = error.response
            raise self._refusal(
                str(error), 503 if response is None else response.status_code
            ) from error
        except MlflowException as error:
            raise self._refusal(str(error), error.get_http_status_code()) from error

    def _refusal(self, said: str, status: int) -> TrackingError:
        by_server = self.uri.startswith("http")
        where = self.uri if by_server else "the local tracking store"
        if "too many 500 error responses" in said or "500 Server Error" in said:
            return TrackingError(f"The MLflow server {where} fails (500). See its log.")
        first_line = said.splitlines()[0] if said else "no reason given"
        unreachable = "Max retries exceeded" in said or "Connection" in first_line
        if unreachable or (by_server and status in (429, 502, 503, 504)):
            return TrackingUnavailable(
                f"The MLflow server {where} cannot be reached. Start it, or unset "
                "MLFLOW_TRACKING_URI to use the local store of the workspace."
            )
        advice = REMEDIES.get(status, "") if by_server else ""
        return TrackingError(f"MLflow ({where}) refused: {first_line}{advice}")


def tracking_uri(paths: Paths) -> str:
    """Return MLFLOW_TRACKING_URI, or the URI of the sqlite database in the workspace."""
    given = os.environ.get(URI_VARIABLE)
    return given or f"sqlite:///{paths.local_tracking / 'mlflow.db'}"


def shortened(tags: Mapping[str, str]) -> dict[str, str]:
    """Return tags no longer than MLflow takes."""
    return {key: value[:LONGEST_TAG] for key, value in tags.items()}
