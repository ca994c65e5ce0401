"""export: turn the classifier into the bundle that serving loads, and prove that both agree."""

from __future__ import annotations

import numpy as np

from cracks.bundle import NETWORK, Bundle, seal_bundle
from cracks.classifier import Classifier
from cracks.digests import digest_of_file
from cracks.errors import BundleError
from cracks.images import decode_to_size
from cracks.labels import LABELS
from cracks.model.storage import convert_model, load_model
from cracks.model.training import score
from cracks.outputs import replacing
from cracks.params import Params
from cracks.paths import Paths
from cracks.reports import Report, flatten, read_report
from cracks.scored import ScoredPatches, scored_patches

#: Patches that go through Keras from raw pixels, which is slow, to compare it with the bundle.
COMPARED_WITH_KERAS = 64


def export(params: Params, paths: Paths) -> Report:
    """Convert, seal and check the bundle.

    Raises:
        BundleError: its scores differ from the evaluated ones by more than the limit.
    """
    model = load_model(paths.classifier)
    evaluation = read_report(paths.report("evaluate"))
    test = scored_patches(paths, "test")
    with replacing(paths.bundle) as folder:
        folder.mkdir()
        convert_model(model, folder / NETWORK)
        bundle = seal_bundle(
            folder,
            {
                "labels": LABELS,
                "patch_size": params.ingest.patch_size,
                "threshold": evaluation["threshold"],
                "architecture": params.featurize.architecture,
                "lineage": _lineage(paths),
                "metrics": flatten({"test": evaluation["test"]}),
            },
        )
        agreement = _agreement(bundle, test, evaluation["threshold"])
        _require_agreement(agreement, params.export.max_score_difference)
    pixels = np.stack(
        [decode_to_size(c, params.ingest.patch_size) for c in test.contents[:COMPARED_WITH_KERAS]]
    )
    keras_scores = score(model, pixels)
    difference = np.abs(keras_scores - test.scores[:COMPARED_WITH_KERAS]).max()
    return {
        "bundle_digest": bundle.digest,
        "size_bytes": sum(file.stat().st_size for file in paths.bundle.iterdir()),
        **agreement,
        "largest_difference_from_keras": float(difference),
    }


def _lineage(paths: Paths) -> dict[str, str]:
    ingested = read_report(paths.report("ingest"))
    return {
        "source": ingested["source"],
        "source_digest": ingested["source_digest"],
        "manifest_sha256": digest_of_file(paths.manifest),
        "splits_sha256": digest_of_file(paths.splits),
    }


def _agreement(bundle: Bundle, test: ScoredPatches, threshold: float) -> dict[str, float]:
    scores = Classifier(bundle).scores(test.contents)
    flips = (scores >= threshold) != (test.scores >= threshold)
    return {
        "compared_patches": len(scores),
        "largest_score_difference": float(np.abs(scores - test.scores).max()),
        "flipped_labels": int(flips.sum()),
    }


def _require_agreement(agreement: dict[str, float], limit: float) -> None:
    if agreement["largest_score_difference"] > limit:
        raise BundleError(
            f"export: the bundle's scores differ from the evaluated ones by up to "
            f"{agreement['largest_score_difference']:.2g}, more than export.max_score_difference "
            f"{limit:.2g}. Nothing was exported."
        )
