"""Where a record is: in a folder, or in a bucket with a folder on the way to it."""

from __future__ import annotations

import os
from pathlib import Path

from cracks.monitoring.prediction_log.part_files import PartFolder, PartStore
from cracks.storage.addresses import is_in_bucket
from cracks.storage.object_store import open_store

#: Variable of the environment: the place, if it is not answers/ in the service folder.
PLACE_VARIABLE = "CRACKS_SERVE_ANSWERS"
FOLDER = "answers"


def place_of_log(service: Path) -> str:
    """Return the place where services of this service folder keep their predictions."""
    return os.environ.get(PLACE_VARIABLE) or str(service / FOLDER)


def place_beside_predictions(service: Path, folder: str) -> str:
    """Return the place of a folder below the record of predictions of a service.

    It follows the record: into a bucket where CRACKS_SERVE_ANSWERS names one.
    """
    return below(place_of_log(service), folder)


def below(place: str | Path, folder: str) -> str:
    """Return the place of a folder below another place."""
    return f"{str(place).rstrip('/')}/{folder}"


def local_folder(place: str | Path, spool: Path | None) -> PartFolder:
    """Return where parts are written: the place, or the folder on the way to it."""
    if not is_in_bucket(place):
        return PartFolder(Path(place))
    if spool is None:
        raise ValueError(f"no spool for {place}")
    return PartFolder(spool)


def sources(place: str | Path, spool: Path | None = None) -> list[PartStore]:
    """Return where the parts of a record can be read; what two of them have is the same.

    Raises:
        StorageError: the address of the bucket is none, or boto3 is not installed.
    """
    waiting = [PartFolder(spool)] if spool and is_in_bucket(place) else []
    return [*waiting, PartStore(open_store(place))]
