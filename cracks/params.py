"""Read params.yaml, refuse by name what is unknown, missing or out of range, change keys."""

from __future__ import annotations

import difflib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from cracks.errors import ParamsError
from cracks.outputs import write_text

Share = Annotated[float, Field(ge=0, le=1)]
GreyValue = Annotated[float, Field(ge=0, le=255)]
Count = Annotated[int, Field(ge=1)]
Text = Annotated[str, Field(min_length=1)]


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
    sample: SampleParams

    @property
    def sources(self) -> list[str]:
        """Return the places of the photographs, one or several."""
        return [self.source] if isinstance(self.source, str) else self.source


class ValidateParams(Section):
    """What the data must look like."""

    min_patches: Count
    min_class_share: Annotated[float, Field(ge=0, le=0.5)]
    max_quarantine_share: Share
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
    run_change: Annotated[float, Field(gt=0)]

    @model_validator(mode="after")
    def _shares_add_up(self) -> SplitParams:
        if abs(self.train + self.validation + self.test - 1) > 1e-9:
            raise ValueError("train, validation and test must add up to 1")
        return self


class FeaturizeParams(Section):
    """The network, and what it sees of a patch."""

    architecture: Literal["cnn", "mobilenetv2"]
    weights: Text
    image_size: Annotated[int, Field(ge=32, le=1024)]
    batch_size: Count


class AugmentParams(Section):
    """How training patches are varied."""

    flip: bool
    transpose: bool
    brightness: Annotated[float, Field(ge=0, lt=1)]
    contrast: Annotated[float, Field(ge=0, lt=1)]


class TrainParams(Section):
    """How the trainable part is trained."""

    seed: Annotated[int, Field(ge=0, lt=2**31)]
    epochs: Count
    patience: Count
    batch_size: Count
    learning_rate: Annotated[float, Field(gt=0, le=10)]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    augment: AugmentParams


class EvaluateParams(Section):
    """How the threshold is chosen and what is shown."""

    min_crack_recall: Share
    mistakes_shown: Count
    label_errors_shown: Count


class ExportParams(Section):
    """What a bundle must keep to."""

    max_score_difference: Share


class RegisterParams(Section):
    """What a challenger must reach to be registered."""

    model_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    min_accuracy: Share
    min_recall: Share
    max_accuracy_drop: Share
    max_recall_drop: Share


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


def load_params(path: Path) -> Params:
    """Return the checked content of the params.yaml at `path`.

    Raises:
        ParamsError: the file is missing or no YAML, or a key is unknown, missing or out of range.
    """
    return _checked(_read(path, YAML(typ="safe")), path, remedy=f"Mend it in {path}.")


def set_params(path: Path, assignments: Sequence[str]) -> Params:
    """Write `key=value` assignments (dotted keys, YAML values) into params.yaml, comments kept.

    Nothing is written if any of them is refused.

    Raises:
        ParamsError: an assignment has no `=`, names an unknown key, or gives an impossible value.
    """
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    document = _read(path, yaml)
    for assignment in assignments:
        _assign(document, assignment, path)
    params = _checked(document, path, remedy="Nothing was changed.")
    if assignments:
        text = io.StringIO()
        yaml.dump(document, text)
        if text.getvalue() != path.read_text(encoding="utf-8"):
            write_text(path, text.getvalue())
    return params


def _read(path: Path, yaml: YAML) -> Any:
    try:
        return yaml.load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParamsError(
            f"{path} does not exist. `git checkout params.yaml` restores it."
        ) from None
    except (YAMLError, UnicodeDecodeError) as error:
        first_line = " ".join(str(error).split())
        raise ParamsError(f"{path} is no YAML: {first_line}") from None


def _assign(document: Any, assignment: str, path: Path) -> None:
    dotted, equals, text = assignment.partition("=")
    if not equals:
        raise ParamsError(f"`-S {assignment}` has no `=`. Write `-S train.epochs=20`.")
    try:
        value = YAML(typ="safe").load(text) if text else ""
    except YAMLError:
        raise ParamsError(f"`-S {assignment}`: {text!r} is no YAML value.") from None
    *parents, last = dotted.split(".")
    place = document
    for key in parents:
        place = place.get(key) if isinstance(place, dict) else None
    if not isinstance(place, dict) or last not in place:
        raise ParamsError(f"{path.name}: unknown key {dotted}.{_suggestion(dotted)}")
    old = place[last]
    if value != old or isinstance(value, bool) != isinstance(old, bool):  # 0.3 is 0.30
        place[last] = value


def _checked(document: Any, path: Path, remedy: str) -> Params:
    try:
        return Params.model_validate(document)
    except ValidationError as error:
        problems = "; ".join(_problem(dict(problem)) for problem in error.errors()[:3])
        raise ParamsError(f"{path.name}: {problems}. {remedy}") from None


def _problem(problem: dict[str, Any]) -> str:
    key = ".".join(str(part) for part in problem["loc"]) or "the file"
    if problem["type"] == "extra_forbidden":
        return f"unknown key {key}{_suggestion(key)}"
    if problem["type"] == "missing":
        return f"missing key {key}"
    message = problem["msg"].removeprefix("Value error, ")
    given = problem["input"]
    return f"{key}: {message[0].lower()}{message[1:]}" + (
        "" if isinstance(given, dict) else f", not {given!r}"
    )


def known_keys(section: type[BaseModel] = Params, prefix: str = "") -> list[str]:
    """Return every dotted key that params.yaml may have, leaves only."""
    keys = []
    for name, field in section.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            keys += known_keys(kind, f"{key}.")
        else:
            keys.append(key)
    return keys


def _suggestion(key: str) -> str:
    near = difflib.get_close_matches(key, known_keys(), n=1)
    return f" Did you mean {near[0]}?" if near else ""
