"""The one family of errors; each message says what was wrong, where, and what to do next.

CracksError
├── ParamsError              params.yaml has an unknown, missing or impossible key
├── StorageError             a folder, bucket or server refuses, or lacks what is to be read there
│   └── StorageUnavailable   it does not respond, or refuses for now    (transient)
├── SourceError              the photographs cannot be taken from where ingest.source points
│   └── SourceUnavailable    the server that has them does not respond  (transient)
├── UnreadableImage          one image cannot be decoded or has the wrong size
├── DataError                a data set, or a batch of images, cannot be used as a whole
│   └── ValidationFailed     an expectation of severity `critical` is broken
├── WeightsError             the weights do not exist or do not fit the architecture
├── StageError               a stage of dvc.yaml failed
├── WorkspaceError           the folder is no workspace, or something in it is missing
│   └── WorkspaceBusy        another process holds the workspace        (transient)
├── RemoteError              the git repository or DVC's remote elsewhere refuses
│   └── RemoteUnavailable    it cannot be reached                       (transient)
├── BundleError              a bundle is damaged, incomplete or altered
├── TrackingError            the MLflow server refused a request
│   ├── PromotionUnderway    another process promotes or rolls back now
│   └── TrackingUnavailable  the MLflow server cannot be reached        (transient)
├── ClusterError             the cluster cannot do the work, or some of it failed again and again
│   └── ClusterUnavailable   no scheduler or no worker responds         (transient)
├── FeedbackError            a label is for no recorded prediction, or is none
├── PromotionFailed          a promotion or rollback stopped half-way, and what became of it
└── ServiceError             the service cannot start, or no champion is in service
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class CracksError(Exception):
    """Base of every refusal that a user can understand and act on."""

    #: Whether the same call may succeed later without anybody changing anything.
    is_transient = False


def one_line(error: object) -> str:
    """Return what an error says, without its line breaks; its kind if it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


class ParamsError(CracksError):
    """A key of params.yaml is unknown, missing or out of range."""


class StorageError(CracksError):
    """A bucket or server refuses, or what is named there or in a folder cannot be had."""


class StorageUnavailable(StorageError):
    """A bucket or server cannot be reached, or refuses for now."""

    is_transient = True


class SourceError(CracksError):
    """The photographs cannot be taken from `ingest.source`."""


class SourceUnavailable(SourceError):
    """The server that has the photographs cannot be reached, or refuses for now."""

    is_transient = True


class UnreadableImage(CracksError):
    """One image cannot be used; the message is the reason, in words for a quarantine list."""


class DataError(CracksError):
    """A data set, or a batch of images, cannot be used as a whole."""


class ValidationFailed(DataError):
    """A critical expectation is broken; `report` is the whole validation report."""

    def __init__(self, message: str, report: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.report = report


class WeightsError(CracksError):
    """The weights do not exist, are damaged, or belong to another architecture."""


class StageError(CracksError):
    """A stage of dvc.yaml failed."""


class WorkspaceError(CracksError):
    """The folder is no workspace of this project, or a file that a command needs is missing."""


class WorkspaceBusy(WorkspaceError):
    """Another process is working in this workspace."""

    is_transient = True


class RemoteError(CracksError):
    """The git repository or the DVC remote that a training elsewhere works for refuses."""


class RemoteUnavailable(RemoteError):
    """The git repository or the DVC remote cannot be reached, or refuses for now."""

    is_transient = True


class BundleError(CracksError):
    """A bundle is damaged, incomplete or altered."""


class TrackingError(CracksError):
    """The MLflow tracking store refused a request."""


class PromotionUnderway(TrackingError):
    """Another process holds the promotion lock; the message says who, which version, since when."""


class TrackingUnavailable(TrackingError):
    """The MLflow tracking store cannot be reached."""

    is_transient = True


class ClusterError(CracksError):
    """The cluster cannot do the work as it is, or parts of the work failed again and again."""


class ClusterUnavailable(ClusterError):
    """Nobody listens at the address of the scheduler, or it has no worker."""

    is_transient = True


class FeedbackError(CracksError):
    """A label of a prediction cannot be recorded."""


class PromotionFailed(CracksError):
    """A promotion or rollback stopped at a step; the message says which, and what is in service.

    It is transient where what stopped it is, as a server that cannot be reached.
    """

    def __init__(self, message: str, *, is_transient: bool = False) -> None:
        super().__init__(message)
        self.is_transient = is_transient


class ServiceError(CracksError):
    """The service cannot start, or has no champion."""
