"""Say in one line what a stage found, for the terminal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cracks.workspace.stage_reports import (
    EvaluateReport,
    ExportReport,
    FeaturizeReport,
    IngestReport,
    MetricName,
    SitesLeftOut,
    SplitReport,
    TestMetrics,
    TrainReport,
    ValidateReport,
)


def summarise(stage: str, report: Any) -> str:
    """Return the report of a stage in a few words."""
    return SUMMARIES[stage](report)


def _ingest(report: IngestReport) -> str:
    photos = report["photos"]
    return (
        f"{report['patches']:,} patches of {photos['photographs']:,} known photographs "
        f"({photos['photographs_known']:.0%} of the patches) at {photos['sites']:,} "
        f"{'site' if photos['sites'] == 1 else 'sites'}, "
        f"{report['quarantined']:,} files in quarantine"
    )


def _validate(report: ValidateReport) -> str:
    rows = report["expectations"]
    broken = [row["name"] for row in rows if not row["success"]]
    warned = f"; warning: {', '.join(broken)}" if broken else ""
    return f"{len(rows) - len(broken)} of {len(rows)} expectations hold{warned}{_new(report)}"


def _new(report: ValidateReport) -> str:
    delivery = report.get("delivery")
    if not delivery:
        return ""
    return (
        f"; new: {delivery['patches']:,} patches of {delivery['photographs']:,} photographs at "
        f"{', '.join(delivery['sites'])}"
    )


def _split(report: SplitReport) -> str:
    parts = [f"{sum(labels.values()):,} {name}" for name, labels in report["counts"].items()]
    this, random = report["leakage"]["this_split"], report["leakage"]["random_split"]
    return (
        f"{', '.join(parts)}; {_share(this['same_photograph_in_train'])} of test have their "
        f"photograph in train (random split: {_share(random['same_photograph_in_train'])})"
    )


def _share(value: float | None) -> str:
    return "an unknown share" if value is None else f"{value:.1%}"


def _featurize(report: FeaturizeReport) -> str:
    shape = "×".join(str(size) for size in report["feature_shape"])
    return (
        f"{report['patches']:,} patches, {shape} each ({report['architecture']}, {report['mode']})"
    )


def _train(report: TrainReport) -> str:
    return (
        f"best of {report['epochs']} epochs is {report['best_epoch']}, "
        f"validation loss {report['best']['val_loss']:.4f}"
    )


def _evaluate(report: EvaluateReport) -> str:
    test, suspects = report["test"], report["label_errors"]["found"]
    warning = f", {suspects:,} likely label {'errors' if suspects > 1 else 'error'}"
    return (
        f"test accuracy {_with_interval(test, 'accuracy')}, crack recall "
        f"{_with_interval(test, 'recall')}, threshold {report['threshold']:.3f}"
        f"{warning if suspects else ''}{_sites_left_out(report['sites_left_out'])}"
    )


def _sites_left_out(report: SitesLeftOut) -> str:
    if "lowest_crack_recall" not in report:
        return ""
    return (
        f"; each of {report['sites']} sites by what the others teach: crack recall at least "
        f"{report['lowest_crack_recall']:.4f}"
    )


def _with_interval(metrics: TestMetrics, name: MetricName) -> str:
    interval = metrics["intervals"][name]
    return f"{metrics[name]:.4f} ({interval['low']:.4f}–{interval['high']:.4f})"


def _export(report: ExportReport) -> str:
    return (
        f"bundle {report['bundle_digest'][:12]}, {sum(report['sizes'].values()) / 1e6:.1f} MB, "
        f"{report['single_image']['openvino']['median_ms']:.1f} ms an image, scores within "
        f"{report['parity']['openvino']['largest_score_difference']:.1g} of Keras"
    )


SUMMARIES: dict[str, Callable[[Any], str]] = {
    "ingest": _ingest,
    "split": _split,
    "validate": _validate,
    "featurize": _featurize,
    "train": _train,
    "evaluate": _evaluate,
    "export": _export,
}
