"""The report of a window: a page that opens anywhere, and the picture of what moved it."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cracks.dataset.figures import new_grid, pixels_of, show
from cracks.dataset.shards import rows_of
from cracks.errors import UnreadableImage
from cracks.images.decode import Pixels, decode_stored
from cracks.monitoring.history import LiveAccuracy, TopContributor, Window
from cracks.monitoring.prediction_log.reader import PredictionLog
from cracks.system.html_page import table_page
from cracks.workspace.paths import Paths
from cracks.workspace.tables import read_table

NOT_KEPT = (
    "The service keeps no photographs (CRACKS_SERVE_KEEP_IMAGES is unset), so only ids are shown."
)


def draw_top_contributors(paths: Paths, movers: Sequence[TopContributor]) -> bytes | None:
    """Return a PNG of predicted photographs beside the nearest training ones; None without any.

    The workspace has the photographs of the data set.
    """
    pairs = [(mover, _predicted_image(paths.service, mover)) for mover in movers]
    found = [(mover, pixels) for mover, pixels in pairs if pixels is not None]
    if not found:
        return None
    nearest = _of_data_set(paths, [mover.nearest_id for mover, _ in found])
    figure, axes = new_grid(2, max(len(found), 2), "Predicted, and the nearest that was trained on")
    columns = max(len(found), 2)
    for column, (mover, pixels) in enumerate(found):
        show(axes[column], pixels, f"{mover.label} {mover.score:.2f}")
        if mover.nearest_id in nearest:
            show(axes[columns + column], nearest[mover.nearest_id], mover.nearest_label)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def signal_rows(window: Window) -> list[dict[str, str]]:
    """Return the signals of a window as rows of text."""
    return [
        {
            "signal": one.name,
            "evidence": f"{one.evidence:.3g}"
            + (f" of {one.needed:.0f}" if one.needed else " (no rule)"),
            "p": "" if one.p_value is None else f"{one.p_value:.3g}",
            "fired": "FIRED" if one.fired else "",
            "what was found": one.says,
        }
        for one in window.signals
    ]


def top_contributor_rows(movers: Sequence[TopContributor]) -> list[dict[str, str]]:
    """Return what moved a window as rows of text."""
    return [
        {
            "prediction": one.prediction_id,
            "predicted": f"{one.label} {one.score:.3f}",
            "novelty": "" if one.novelty is None else f"{one.novelty:.2f}",
            "distance": f"{one.distance:.3f}",
            "nearest trained on": f"{one.nearest_id[:12]}… ({one.nearest_label})",
        }
        for one in movers
    ]


def accuracy_row(live: LiveAccuracy) -> Mapping[str, str]:
    """Return the live accuracy as one row of text."""
    shares: dict[str, Any] = {
        "accuracy": live.accuracy,
        "crack recall": live.crack_recall,
        "false alarms": live.false_alarms,
        "calibration error": live.ece,
    }
    return {"labelled predictions": f"{live.labelled:,}"} | {
        name: "not known" if one.rate is None else f"{one.rate:.3f} ({one.low:.3f}–{one.high:.3f})"
        for name, one in shares.items()
    }


def window_page(window: Window, picture: bytes | None) -> str:
    """Return the report of a window as one HTML file."""
    summary = (
        f"{window.begin:%Y-%m-%d %H:%M} to {window.end:%H:%M} UTC: {window.answers:,} predictions, "
        f"version {window.model_version}. {outcome_of(window, picture)}"
    )
    pictures = {}
    if picture:
        encoded = base64.b64encode(picture).decode()
        pictures["What moved it most"] = f"data:image/png;base64,{encoded}"
    return table_page("Monitoring", summary, signal_rows(window), pictures=pictures)


def outcome_of(window: Window, picture: bytes | None) -> str:
    """Return what came of a window, and why it has no picture where it should have one."""
    said = window.reason or ("Nothing fired." if window.judged else "Too few predictions to judge.")
    return f"{said} {NOT_KEPT}" if window.fired and window.movers and not picture else said


def _predicted_image(service: Path, mover: TopContributor) -> Pixels | None:
    record = PredictionLog.of(service)
    prediction = record.find(mover.prediction_id)
    try:
        return decode_stored(prediction.image) if prediction and prediction.image else None
    except UnreadableImage:
        return None


def _of_data_set(paths: Paths, ids: Sequence[str]) -> dict[str, Pixels]:
    """Return the patches of the data set that this workspace has, by id."""
    if not paths.manifest.is_file():
        return {}
    manifest = read_table(paths.manifest)
    known = set(manifest["id"].to_pylist())
    wanted = sorted({id_ for id_ in ids if id_ in known})
    if not wanted:
        return {}
    return dict(zip(wanted, pixels_of(rows_of(wanted, manifest), paths.images), strict=True))
