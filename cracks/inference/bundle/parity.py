"""Compare the scores of the same patches from different runtimes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cracks.errors import BundleError
from cracks.inference.bundle.bundle import BundleContent
from cracks.inference.bundle.calibration import Calibration, Scores
from cracks.workspace.params import ExportParams
from cracks.workspace.stage_reports import Parity


def parity(raw: Scores, expected: Scores, calibration: Calibration, threshold: float) -> Parity:
    """Return how far the scores of one runtime are from those expected.

    Args:
        raw: float (n,), as the runtime gives them.
        expected: float (n,), likewise.
        calibration: of both.
        threshold: of calibrated scores.

    Returns:
        compared, largest_score_difference and mean_score_difference (of calibrated scores),
        flipped_labels.
    """
    given, wanted = calibration.apply(raw), calibration.apply(expected)
    difference = np.abs(given - wanted)
    return {
        "compared": len(raw),
        "largest_score_difference": float(difference.max()),
        "mean_score_difference": float(difference.mean()),
        "flipped_labels": int(((given >= threshold) != (wanted >= threshold)).sum()),
    }


def require_parity(name: str, found: Parity, limits: ExportParams, precision: str) -> None:
    """Accept what `parity` found of a runtime: in f32 scores must agree, else only labels must.

    Raises:
        BundleError: a limit is exceeded, with the number.
    """
    difference, flipped = found["largest_score_difference"], found["flipped_labels"]
    # Not `>`: a difference that is NaN must be refused, too.
    if precision == "f32" and not difference <= limits.max_score_difference:
        raise BundleError(
            f"export: {name} gives other scores than Keras or the evaluation, by up to "
            f"{difference:.2g}; export.max_score_difference allows "
            f"{limits.max_score_difference:.2g}. Nothing was exported."
        )
    if precision != "f32" and flipped > limits.max_flipped_share * found["compared"]:
        raise BundleError(
            f"export: in {precision} {name} gives {flipped} of {found['compared']} patches another "
            f"label than Keras; export.max_flipped_share allows "
            f"{limits.max_flipped_share:.2g} of them. Nothing was exported; "
            "write featurize.precision=f32."
        )


def check_parity(
    raw: Mapping[str, Scores], content: BundleContent, limits: ExportParams
) -> dict[str, Parity]:
    """Return how far each runtime is from Keras, and the bundle from the evaluation.

    Args:
        raw: scores float (n,) of the same patches by their source: "keras", "evaluation",
            "openvino", and the other formats.
        content: of the bundle.
        limits: the section `export` of params.yaml.

    Raises:
        BundleError: a limit is exceeded.
    """
    pairs = {name: (scores, raw["keras"]) for name, scores in raw.items() if name != "keras"}
    pairs["evaluation"] = (raw["evaluation"], raw["openvino"])
    # Only the bundle's own network is quantised; what was evaluated is that very network.
    precision = dict.fromkeys(pairs, "f32") | {"openvino": content.precision}
    found = {}
    for name, (scores, expected) in pairs.items():
        found[name] = parity(scores, expected, content.calibration, content.threshold)
        require_parity(name, found[name], limits, precision[name])
    return found
