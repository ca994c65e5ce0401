"""Where work is done, on this machine or on the cluster, is chosen here and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from cracks.cluster.settings import cluster_settings
from cracks.errors import DataError
from cracks.images.files import ImageFile, find_images
from cracks.inference.batch.predictions_file import PredictionsFile
from cracks.inference.batch.scoring import score_files
from cracks.inference.bundle.bundle import Bundle
from cracks.inference.bundle.classifier import Classifier
from cracks.inference.handover.champion import open_champion
from cracks.inference.photos.inspection_folder import InspectionFolder
from cracks.inference.photos.many_photos import inspect_photos
from cracks.system.console import Advance
from cracks.training.features.compute import compute_here
from cracks.training.features.store import FeatureStore
from cracks.workspace.params import Params

#: Opens what shows progress, for a number of images.
Showing = Callable[[int], AbstractContextManager[Advance]]


def predict_files(
    service: Path, places: Sequence[str], out: Path, showing: Showing
) -> dict[str, Any]:
    """Write the champion's predictions for every image; a second call resumes.

    Where `DASK_SCHEDULER_ADDRESS` names a cluster, that computes them.

    Args:
        service: the folder that names the champion.
        places: files, folders, and addresses `s3://bucket/prefix`.
        out: one file `NAME.parquet`, or a folder of shards.
        showing: shows the progress over the images.

    Returns:
        `PredictionsFile.summary`, and `answered_now`: how many were predicted by this call.

    Raises:
        ServiceError: no champion is in service; BundleError: its bundle is damaged.
        StorageError: a place cannot be listed, or holds no image.
        StorageUnavailable: the storage stopped responding; what was predicted is kept.
        WorkspaceError: `out` cannot be written, or holds the predictions of another model.
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


def compute_features(
    params: Params, shards: Sequence[Path], featurizer: Path, store: FeatureStore, advance: Advance
) -> None:
    """Compute the features of some shards and put them into `store`.

    Where `DASK_SCHEDULER_ADDRESS` names a cluster, that computes them.

    Raises:
        WeightsError: a feature is no finite number.
        ClusterError: the cluster cannot do it.
    """
    if cluster := cluster_settings():
        from cracks.cluster.features import store_features_on_cluster

        store_features_on_cluster(cluster, params, shards, featurizer, store, advance)
    else:
        compute_here(params, shards, featurizer, store, advance)


def inspect_files(
    bundle: Bundle,
    folder: InspectionFolder,
    files: Sequence[ImageFile],
    missing: Sequence[ImageFile],
    advance: Advance,
) -> Iterator[dict[str, str]]:
    """Inspect photographs, and write the results of each into the folder.

    Where `DASK_SCHEDULER_ADDRESS` names a cluster, that inspects them.

    Yields:
        The photographs that cannot be read, with the reason, as soon as they are known.

    Raises:
        ClusterError: the cluster cannot do it.
    """
    if cluster := cluster_settings():
        from cracks.cluster.inspections import inspect_on_cluster

        return inspect_on_cluster(cluster, bundle, folder, files, missing, advance)
    return inspect_photos(Classifier(bundle), folder, missing, advance)
