"""Read params.yaml, refuse by name what is unknown, missing or out of range, change keys."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from cracks.workspace.paths import STAGES

Share = Annotated[float, Field(ge=0, le=1)]
GreyValue = Annotated[float, Field(ge=0, le=255)]
Count = Annotated[int, Field(ge=1)]
Text = Annotated[str, Field(min_length=1)]
Rate = Annotated[float, Field(gt=0, le=10)]

Finite = Annotated[float, Field(allow_inf_nan=False)]
Margin = Annotated[float, Field(gt=0, lt=1)]

#: What a verdict leads to: put into service, register and wait for a person's approval, register
#: only, or neither.
Action = Literal["promote", "ask", "register", "refuse"]

#: What `register.limits` can be set to: a number of a stage's report, of the bundle, of a slice.
LIMITED = (*STAGES, "bundle", "slices")

#: The keys above a limit, to which more may be added.
LIMITS = ["register", "limits"]

#: What is trained: the head on frozen features, then more of the backbone too, or everything.
Mode = Literal["probe", "finetune", "scratch"]

#: What stays on one side of the split as a whole.
Unit = Literal["photo", "site"]

#: `featurize.weights` that are no file.
NO_WEIGHTS = "none"
IMAGENET = "imagenet"
NAMED_WEIGHTS = (NO_WEIGHTS, IMAGENET)


def _names_places(value: Any) -> Any:
    places = value if isinstance(value, list) else [value]
    if not places or not all(isinstance(place, str) and place for place in places):
        raise ValueError("must be the name of a place, or a list of such names")
    return value


class Section(BaseModel):
    """A section of params.yaml: no key may be missing, none may be unknown."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=())


class SampleParams(Section):
    """What `ingest.source: sample` draws."""

    patches: Annotated[int, Field(ge=2, le=1_000_000)]
    seed: Annotated[int, Field(ge=0)]


class IngestParams(Section):
    """Where the photographs come from and how they are stored."""

    source: Annotated[str | list[str], BeforeValidator(_names_places)]
    patch_size: Annotated[int, Field(ge=16, le=4096)]
    shard_rows: Count
    photo: Literal["auto", "table"]
    max_photo_patches: Annotated[int, Field(ge=2)]
    run_change: Annotated[float, Field(gt=0)]
    sample: SampleParams

    @property
    def sources(self) -> list[str]:
        """Return the places of the photographs, one or several."""
        return [self.source] if isinstance(self.source, str) else self.source


class ValidateParams(Section):
    """What the data must look like."""

    min_patches: Count
    min_crack_photographs: Annotated[int, Field(ge=0)]
    max_quarantine_share: Share
    max_left_out_share: Share
    min_brightness: GreyValue
    max_brightness: GreyValue
    min_contrast: GreyValue
    max_saturated: Share
    min_bytes_per_pixel: Annotated[float, Field(ge=0)]
    max_drift: Annotated[float, Field(ge=0)]
    max_class_change: Share

    @model_validator(mode="after")
    def _brightness_is_a_range(self) -> ValidateParams:
        if self.min_brightness > self.max_brightness:
            raise ValueError("min_brightness must not be above max_brightness")
        return self


class SplitParams(Section):
    """The shares of the three splits, and what must stay together in one of them."""

    train: Annotated[float, Field(gt=0, lt=1)]
    validation: Annotated[float, Field(gt=0, lt=1)]
    test: Annotated[float, Field(gt=0, lt=1)]
    salt: str
    near_copy_distance: Annotated[float, Field(ge=0, le=10)]
    recrop_response: Share
    overlap_correlation: Share
    unit: Unit
    max_group_patches: Annotated[int, Field(ge=2)]

    @model_validator(mode="after")
    def _shares_add_up(self) -> SplitParams:
        if abs(self.train + self.validation + self.test - 1) > 1e-9:
            raise ValueError("train, validation and test must add up to 1")
        return self


class FeaturizeParams(Section):
    """The network, what it sees of a patch, and how exactly it is computed."""

    architecture: Literal["cnn", "mobilenetv2", "mobilenetv3small", "efficientnetv2b0"]
    weights: Text
    image_size: Annotated[int, Field(ge=32, le=1024)]
    precision: Literal["f32", "bf16", "int8"]
    batch_size: Count


class AugmentParams(Section):
    """How training patches are varied."""

    flip: bool
    transpose: bool
    brightness: Annotated[float, Field(ge=0, lt=1)]
    contrast: Annotated[float, Field(ge=0, lt=1)]


class FinetuneParams(Section):
    """How the backbone is fine-tuned, after the head was trained alone."""

    from_layer: Text
    epochs: Count
    learning_rate: Rate


class TrainParams(Section):
    """How the trainable part is trained."""

    mode: Literal["auto", "probe", "finetune", "scratch"]
    device: Literal["auto", "cpu", "gpu"]
    seed: Annotated[int, Field(ge=0, lt=2**31)]
    epochs: Count
    patience: Count
    batch_size: Count
    learning_rate: Rate
    dropout: Annotated[float, Field(ge=0, lt=1)]
    finetune: FinetuneParams
    augment: AugmentParams


class NoveltyParams(Section):
    """How unlike the training data a photograph must be to be flagged."""

    max_flagged: Annotated[float, Field(gt=0, lt=0.5)]
    drawn_surfaces: Count


class EvaluateParams(Section):
    """How threshold, calibration and novelty limit are chosen, what is measured and shown."""

    min_crack_recall: Share
    calibration: Literal["temperature", "isotonic", "none"]
    novelty: NoveltyParams
    resamples: Annotated[int, Field(ge=100, le=100_000)]
    behaviour_patches: Annotated[int, Field(ge=2)]
    explained_patches: Annotated[int, Field(ge=2, le=24)]
    mistakes_shown: Count
    label_errors_shown: Count
    sites_left_out: Annotated[int, Field(ge=0)]


class ExportParams(Section):
    """What a bundle holds, and what it must keep to."""

    formats: list[Literal["openvino", "onnx", "litert"]]
    compared_patches: Count
    max_score_difference: Share
    max_flipped_share: Share

    @model_validator(mode="after")
    def _serving_has_its_format(self) -> ExportParams:
        if "openvino" not in self.formats or len(set(self.formats)) < len(self.formats):
            raise ValueError("formats must name openvino, which serving loads, and none twice")
        return self


class LimitParams(Section):
    """Between what a number must lie."""

    min: Finite | None = None
    max: Finite | None = None

    @model_validator(mode="after")
    def _is_a_range(self) -> LimitParams:
        if self.min is None and self.max is None:
            raise ValueError("a limit must have a min, a max, or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("min must not be above max")
        return self


class MarginsParams(Section):
    """The losses against the champion from which on a challenger is no replacement."""

    accuracy: Margin
    recall: Margin

    def of(self, metric: str) -> float:
        """Return the margin of a metric."""
        return float(getattr(self, metric))


class VerdictsParams(Section):
    """What each verdict leads to."""

    first: Action
    better: Action
    not_worse: Annotated[Action, Field(alias="not worse")]
    undecided: Action
    worse: Action

    def action(self, verdict: str) -> Action:
        """Return what a verdict leads to."""
        chosen: Action = getattr(self, verdict.replace(" ", "_"))
        return chosen


class RegisterParams(Section):
    """What a challenger must reach, and what each verdict on it leads to."""

    model_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    limits: dict[str, LimitParams]
    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    margins: MarginsParams
    verdicts: VerdictsParams

    @model_validator(mode="after")
    def _limits_name_numbers(self) -> RegisterParams:
        for name in self.limits:
            if name.split(".")[0] not in LIMITED:
                raise ValueError(
                    f"limits: {name} is no number of a report: begin with {', '.join(LIMITED)}"
                )
        return self


class PromoteParams(Section):
    """What a bundle must keep to before it is put into service, and how long serving may take."""

    max_golden_difference: Share
    max_latency_ms: Annotated[float, Field(gt=0)]
    service_timeout: Annotated[float, Field(gt=0)]


class RuleParams(Section):
    """When a signal of monitoring fires, and whether it starts a training."""

    #: A window, on the average: 0.01 is one in a hundred windows. 0: it is only shown.
    false_alarms: Annotated[float, Field(ge=0, le=0.2)]
    trains: bool


class RulesParams(Section):
    """The rule of each signal."""

    embedding: RuleParams
    scores: RuleParams
    novelty: RuleParams
    crack_share: RuleParams
    latency: RuleParams
    errors: RuleParams
    accuracy: RuleParams

    def of(self, signal: str) -> RuleParams:
        """Return the rule of a signal; one that has none is only shown."""
        return getattr(self, signal, None) or RuleParams(false_alarms=0.0, trains=False)


class MonitorLimitsParams(Section):
    """What is taken as it is."""

    slow_ms: Annotated[float, Field(gt=0)]
    slow_share: Annotated[float, Field(gt=0, lt=1)]
    error_share: Annotated[float, Field(gt=0, lt=1)]
    wrong_share: Annotated[float, Field(gt=0, lt=1)]


class MonitorParams(Section):
    """What is watched, and what starts a training."""

    min_answers: Annotated[int, Field(ge=10, le=1000)]
    longest_hours: Annotated[int, Field(ge=1, le=24 * 31)]
    cool_down_hours: Annotated[float, Field(ge=0)]
    expected_crack_share: Annotated[float, Field(ge=0, lt=1)]
    limits: MonitorLimitsParams
    rules: RulesParams


class Params(Section):
    """The whole of params.yaml, one section a stage."""

    ingest: IngestParams
    validate_: Annotated[ValidateParams, Field(alias="validate")]
    split: SplitParams
    featurize: FeaturizeParams
    train: TrainParams
    evaluate: EvaluateParams
    export: ExportParams
    register_: Annotated[RegisterParams, Field(alias="register")]
    promote: PromoteParams
    monitor: MonitorParams

    @property
    def mode(self) -> Mode:
        """Return `train.mode`; `auto` is a probe where there are weights, and scratch elsewhere."""
        if self.train.mode != "auto":
            return self.train.mode
        return "scratch" if self.featurize.weights == NO_WEIGHTS else "probe"

    @model_validator(mode="after")
    def _mode_fits_the_weights(self) -> Params:
        weights, architecture = self.featurize.weights, self.featurize.architecture
        if architecture == "cnn" and (self.mode != "scratch" or weights != NO_WEIGHTS):
            raise ValueError(
                "featurize.architecture cnn is trained from scratch and takes no weights: write "
                "featurize.weights=none and train.mode=auto"
            )
        if self.mode == "scratch" and weights != NO_WEIGHTS:
            raise ValueError(
                "train.mode scratch begins with random weights: write featurize.weights=none, or "
                "train.mode=finetune"
            )
        if self.mode != "scratch" and weights == NO_WEIGHTS:
            raise ValueError(
                f"train.mode {self.mode} builds on a trained backbone: write "
                "featurize.weights=imagenet or a file of weights, or train.mode=scratch"
            )
        return self
