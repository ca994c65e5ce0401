"""Answer for all images of some places with the champion, and write what is missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from cracks.cluster.settings import cluster_settings
from cracks.errors import DataError
from cracks.images.files import find_images
from cracks.inference.batch.predictions_file import PredictionsFile
from cracks.inference.batch.scoring import score_files
from cracks.inference.bundle.classifier import Classifier
from cracks.inference.handover.champion import open_champion
from cracks.system.progress import Advance

#: Opens what shows progress, for a number of images.
Showing = Callable[[int], AbstractContextManager[Advance]]


def predict_files(
    service: Path, places: Sequence[str], out: Path, showing: Showing
) -> dict[str, Any]:
    """Write the champion's answers for every image; a second call does only what is missing.

    Where `DASK_SCHEDULER_ADDRESS` names a cluster, that gives the answers.

    Args:
        service: the folder that names the champion.
        places: files, folders, and addresses `s3://bucket/prefix`.
        out: one file `NAME.parquet`, or a folder of shards.
        showing: is told of the images as they are done.

    Returns:
        What `PredictionsFile.summary` says, and `answered_now`.

    Raises:
        ServiceError: no champion is in service; BundleError: its bundle is damaged.
        StorageError: a place cannot be listed, or holds no image.
        StorageUnavailable: the storage stopped answering; what was answered is kept.
        WorkspaceError: `out` cannot be written, or holds the answers of another model.
        WorkspaceBusy: another process writes there.
        ClusterError: the cluster cannot do it.
    """
    champion, bundle = open_champion(service)
    cluster, files = cluster_settings(), find_images(places)
    with PredictionsFile(out, champion).opened() as store:
        missing = store.missing(files)
        if missing:
            with showing(len(missing)) as advance:
                if cluster:
                    from cracks.cluster.predictions import score_on_cluster

                    chunks = score_on_cluster(cluster, bundle, champion, files, missing, advance)
                else:
                    chunks = score_files(Classifier(bundle), champion, missing, advance)
                for chunk in chunks:
                    store.add(chunk)
        store.finish()
        return store.summary() | {"answered_now": len(missing) - store.unreadable}


def refuse_if_nothing_was_readable(summary: dict[str, Any]) -> None:
    """Refuse a batch in which no image could be read.

    Raises:
        DataError: it is such a batch.
    """
    if not summary["answers"]:
        raise DataError(f"No image could be read. {summary['unreadable_list']} says why.")
