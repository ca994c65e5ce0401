"""What each stage reports: the keys of reports/<stage>.json, as the stages write them.

Shares, rates and metrics lie in [0, 1]. `from __future__ import annotations` is left out, since it
hides from Python which keys are not required.
"""

from collections.abc import Iterable
from typing import Any, Literal, NotRequired, TypedDict, get_type_hints

from cracks.workspace.paths import Paths
from cracks.workspace.reports import read_report

MetricName = Literal[
    "accuracy", "recall", "precision", "specificity", "f1", "roc_auc", "pr_auc", "brier", "ece"
]

#: What intervals and the gate count: the patches of one are no independent evidence.
Counted = Literal["photographs", "sites", "patches"]


class PhotosReport(TypedDict):
    """Which photographs the patches were cut from, and how that is known."""

    photographs: int
    sites: int
    photographs_known: float  # share of the patches
    known_by: dict[str, int]  # patches by clue, and the unknown ones
    doubted: dict[str, str]  # what looked like one photograph, and why it is none
    mixed: dict[str, float]  # photographs of patches that differ so many times the usual


class IngestReport(TypedDict):
    """What was read from the sources."""

    source: str  # names of the sources, joined by " + "
    source_digest: str
    files: int  # photographs, copies and unusable files
    patches: int  # usable files, copies among them
    distinct_patches: int
    quarantined: int  # unusable files
    labels: dict[str, int]  # patches by label
    photos: PhotosReport


class Leakage(TypedDict):
    """Shares of the test files that train also has; None where nothing is known."""

    same_picture_in_train: float | None
    same_photograph_in_train: float | None  # of the files whose photograph is known


class LeakageReport(TypedDict):
    """The leakage of this split beside that of a random one of the same shares."""

    this_split: Leakage
    random_split: Leakage


class SplitReport(TypedDict):
    """How the distinct patches were assigned to the splits."""

    patches: int
    copies_left_out: int
    left_out: dict[str, int]  # patches in no split, by label
    counts: dict[str, dict[str, int]]  # patches by split and label
    shares: dict[str, float]  # of the assigned patches, by split
    near_copies: int  # pairs
    recrops: int  # pairs
    overlaps: int  # pairs, but not of one known photograph
    photographs: int  # that are known
    photographs_known: float  # share of the patches
    counted: Counted  # by intervals and gate
    groups: int  # of patches that stay together
    crack_groups: dict[str, int]  # groups with cracks, by split
    largest_group: int  # patches
    leakage: LeakageReport


class ExpectationRow(TypedDict):
    """What became of one expectation."""

    name: str
    severity: str  # "critical" or "warning"
    success: bool
    expected: str
    observed: str
    advice: str  # what to do where it is broken; may be empty
    examples: list[dict[str, Any]]  # rows that break it; those of patches have an `id`


class DeliveryReport(TypedDict):
    """What is new since the last accepted data, and how far it lies from that."""

    patches: int
    photographs: int  # a patch whose photograph is unknown counts as one
    cracks: int  # patches
    sites: dict[str, int]  # patches by site
    drift: dict[str, float]  # by fact, beyond what chance makes of so few photographs


class ValidateReport(TypedDict):
    """What became of the expectations of the data."""

    success: bool  # no critical expectation is broken
    patches: int
    expectations: list[ExpectationRow]
    # From the data accepted before, by fact; missing where the data is refused.
    drift: NotRequired[dict[str, float]]
    delivery: NotRequired[DeliveryReport | None]  # None where nothing is new, or all


class FeaturizeReport(TypedDict):
    """The half of the network that is computed once, and its features."""

    architecture: str
    mode: str
    weights: str  # as params.yaml names them
    weights_sha256: str | None  # None where `weights` names no file
    precision: str
    patches: int
    feature_shape: list[int]  # of one patch
    agreement_with_keras: dict[str, float]


class EpochsReport(TypedDict):
    """What the epochs of a training found."""

    architecture: str
    mode: str
    device: str
    parameters: int
    trained_parameters: int
    epochs: int
    best_epoch: int
    best: dict[str, float]  # numbers of the best epoch, as "val_loss"


class TrainReport(EpochsReport):
    """What the training found."""

    patches: dict[str, int]  # by split
    agreement_with_keras: dict[str, float]


class Interval(TypedDict):
    """A 95 % interval."""

    low: float
    high: float


class Confusion(TypedDict):
    """Patches by label and prediction."""

    found_cracks: int
    missed_cracks: int
    false_alarms: int
    clean_passed: int


class SplitMetrics(TypedDict):
    """The metrics of one split."""

    patches: int
    accuracy: float
    precision: float
    recall: float  # of cracks
    specificity: float  # share of the clean patches that pass
    f1: float
    roc_auc: float
    pr_auc: float  # average precision
    brier: float
    ece: float  # expected calibration error
    confusion: Confusion


class TestMetrics(SplitMetrics):
    """The metrics of the test split, with their intervals."""

    intervals: dict[MetricName, Interval]  # with mistakes of a group as correlated as seen
    worst_case_intervals: dict[MetricName, Interval]  # if groups fail as a whole
    correlations: dict[MetricName, float]  # of the mistakes of a group; of shares of patches


class RateEstimate(TypedDict):
    """A share with its 95 % interval; None where there is no patch."""

    rate: float | None
    low: float | None
    high: float | None
    patches: int


class Reliability(TypedDict):
    """How far scores are from probabilities."""

    ece: float  # expected calibration error
    brier: float
    log_loss: float  # nats


class CalibrationEffect(TypedDict):
    """What a calibration does to the test scores."""

    method: str
    temperature: float | None  # None for another method
    before: Reliability
    after: Reliability


class CalibrationReport(CalibrationEffect):
    """The calibration, and what it does."""

    fitted: dict[str, Any]  # the fields of `Calibration`


class NoveltyReport(TypedDict):
    """The novelty limit, and what it flags."""

    limit: float
    flagged_on_test: RateEstimate


class LabelErrors(TypedDict):
    """The search for label errors."""

    examined: int  # patches
    how: str
    found: int  # likely errors


class SitesLeftOut(TypedDict):
    """How well each site is predicted from the others; the lowest rates where there are any."""

    sites: int  # that were left out, one at a time
    not_measured: dict[str, str]  # why, by site
    lowest_accuracy: NotRequired[float]
    lowest_crack_recall: NotRequired[float]


class MeasuredReport(TypedDict):
    """What was decided on validation and measured on test."""

    threshold: float  # of calibrated scores
    calibration: CalibrationReport
    novelty: NoveltyReport
    validation: SplitMetrics
    test: TestMetrics


class EvaluateReport(MeasuredReport):
    """All that the evaluation found."""

    drawn_surfaces_flagged: dict[str, float]  # share flagged as novel, by material
    behaviour: dict[str, dict[str, float]]  # rates by kind and test
    label_errors: LabelErrors
    sites_left_out: SitesLeftOut


class Parity(TypedDict):
    """How far the calibrated scores of one runtime are from those expected."""

    compared: int  # patches
    largest_score_difference: float
    mean_score_difference: float
    flipped_labels: int


class Latency(TypedDict):
    """How long one image takes, in milliseconds."""

    median_ms: float
    p95_ms: float


class ExportReport(TypedDict):
    """The bundle, and how its runtimes agree."""

    bundle_digest: str
    precision: str
    sizes: dict[str, int]  # bytes by file
    parity: dict[str, Parity]  # by runtime, and "evaluation"
    single_image: dict[str, Latency]  # by runtime


class StageReports(TypedDict, total=False):
    """Reports by stage, of the stages that have one."""

    ingest: IngestReport
    split: SplitReport
    validate: ValidateReport
    featurize: FeaturizeReport
    train: TrainReport
    evaluate: EvaluateReport
    export: ExportReport


#: The type of each stage's report.
KINDS: dict[str, type[Any]] = get_type_hints(StageReports)


def read_reports(paths: Paths, stages: Iterable[str]) -> StageReports:
    """Return the reports of these stages.

    Raises:
        WorkspaceError: as `read_report`.
    """
    reports: Any = {stage: read_report(paths.report(stage), KINDS[stage]) for stage in stages}
    read: StageReports = reports
    return read
