"""What a sweep may vary: keys of params.yaml with a range of numbers or a list of values each."""

from __future__ import annotations

import difflib
import itertools
import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from cracks.errors import ParamsError
from cracks.workspace.params import Mode, Params
from cracks.workspace.params_file import known_keys

#: Sections of params.yaml that decide what is trained, and how.
SECTIONS = ("featurize", "train")

#: From this ratio of its ends on a range is tried on a logarithmic scale.
LOGARITHMIC_FROM = 10

#: Significant digits of a tried number, so that it can be written down and tried again.
DIGITS = 3

#: What varies if nothing is named.
DEFAULTS: dict[Mode, tuple[str, ...]] = {
    "probe": (
        "train.learning_rate=0.0003..0.03",
        "train.dropout=0..0.5",
        "train.batch_size=16,32,64,128",
    ),
    "scratch": (
        "train.learning_rate=0.0003..0.03",
        "train.dropout=0..0.5",
        "train.batch_size=16,32,64",
    ),
    "finetune": (
        "train.learning_rate=0.0003..0.03",
        "train.finetune.learning_rate=0.000003..0.0003",
        "train.dropout=0..0.5",
    ),
}


@dataclass(frozen=True)
class Range:
    """Every number from `low` to `high`, both among them; whole ones if both are `int`."""

    low: float
    high: float

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are tried."""
        return isinstance(self.low, int)

    @property
    def logarithmic(self) -> bool:
        """Whether as many numbers are tried from 1 to 10 as from 10 to 100."""
        return self.low > 0 and self.high / self.low >= LOGARITHMIC_FROM

    def rounded(self, number: float) -> float:
        """Return `number` as it is tried: with few digits, and within the range."""
        if self.whole:
            return int(number)
        return min(max(float(f"{number:.{DIGITS}g}"), self.low), self.high)

    def __str__(self) -> str:
        return f"{self.low}..{self.high}"


@dataclass(frozen=True)
class Choice:
    """One of some values."""

    values: tuple[Any, ...]

    def __str__(self) -> str:
        return ",".join(map(written, self.values))


#: What each varied key may be, in the order in which they were named.
Space = dict[str, Range | Choice]


def space_of(texts: Sequence[str], params: Params) -> Space:
    """Return what `KEY=LOW..HIGH` and `KEY=VALUE,VALUE` say; the defaults where there is none.

    Raises:
        ParamsError: a key is unknown, named twice, or decides nothing of a training; a value is
            none that the key can have.
    """
    space: Space = {}
    for text in texts or DEFAULTS[params.mode]:
        key, equals, values = text.partition("=")
        if not equals or not values:
            raise ParamsError(
                f"`--vary {text}` names no values. Write `--vary train.dropout=0..0.5` or "
                "`--vary train.batch_size=32,64`."
            )
        _require_variable(key)
        if key in space:
            raise ParamsError(f"`--vary {key}` is given twice. Name all its values in one.")
        space[key] = _range(key, values, params) if ".." in values else _choice(key, values)
        _require_possible(key, space[key], params)
    return space


def combinations_of(space: Space) -> int | None:
    """Return how many combinations there are, or None where a number need not be whole."""
    if any(isinstance(one, Range) and not one.whole for one in space.values()):
        return None
    return math.prod(len(_values_of(one)) for one in space.values())


def all_combinations(space: Space) -> Iterator[dict[str, Any]]:
    """Yield every combination of a space that has a number of them."""
    for values in itertools.product(*map(_values_of, space.values())):
        yield dict(zip(space, values, strict=True))


def _values_of(one: Range | Choice) -> Sequence[Any]:
    return one.values if isinstance(one, Choice) else range(int(one.low), int(one.high) + 1)


def assigned(params: Params, values: Mapping[str, Any]) -> Params:
    """Return `params` with some keys changed, in memory.

    Raises:
        ParamsError: a value is impossible, or does not go with the others.
    """
    try:
        return _changed(params, values)
    except ValidationError as error:
        raise ParamsError("; ".join(_reason(dict(one)) for one in error.errors())) from None


def options_of(values: Mapping[str, Any]) -> str:
    """Return the values as options of `cracks train`."""
    options = (shlex.quote(f"{key}={written(value)}") for key, value in values.items())
    return " ".join(f"-S {option}" for option in options)


def written(value: Any) -> str:
    """Return a value as params.yaml has it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _require_variable(key: str) -> None:
    keys = [one for one in known_keys() if one.startswith(tuple(f"{name}." for name in SECTIONS))]
    if key in keys:
        return
    if key in known_keys():
        raise ParamsError(
            f"{key} cannot vary: a sweep tries keys of {' and '.join(SECTIONS)}, on the same data."
        )
    near = difflib.get_close_matches(key, keys, n=1)
    suggestion = f" Did you mean {near[0]}?" if near else ""
    raise ParamsError(f"params.yaml: unknown key {key}.{suggestion}")


def _range(key: str, text: str, params: Params) -> Range:
    now = flat(params.model_dump())[key]
    low, high = (_value(key, end) for end in text.split("..", 1))
    if isinstance(now, bool) or not isinstance(now, int | float):
        raise ParamsError(f"{key} is no number: name its values, as `--vary {key}=this,that`.")
    if not _is_number(low) or not _is_number(high) or low >= high:
        raise ParamsError(
            f"`--vary {key}={text}` is not a range. Write LOW..HIGH, with LOW below HIGH."
        )
    if isinstance(now, float):
        return Range(float(low), float(high))
    if not isinstance(low, int) or not isinstance(high, int):
        raise ParamsError(f"{key} takes whole numbers: {text} is not a range of them.")
    return Range(low, high)


def _choice(key: str, text: str) -> Choice:
    values = tuple(_value(key, one.strip()) for one in text.split(","))
    if len(set(values)) < len(values):
        raise ParamsError(f"`--vary {key}={text}` names a value twice.")
    return Choice(values)


def _value(key: str, text: str) -> Any:
    try:
        value = YAML(typ="safe").load(text) if text else None
    except YAMLError:
        value = None
    if value is None or isinstance(value, list | dict):
        raise ParamsError(f"`--vary {key}`: {text!r} is no single value.")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _require_possible(key: str, values: Range | Choice, params: Params) -> None:
    """Refuse what the key can never be; what only does not go with others is for its trial."""
    ends = (values.low, values.high) if isinstance(values, Range) else values.values
    for value in ends:
        try:
            _changed(params, {key: value})
        except ValidationError as error:
            alone = [dict(one) for one in error.errors() if one["loc"]]
            if alone:
                raise ParamsError(f"`--vary`: {_reason(alone[0])}.") from None


def _changed(params: Params, values: Mapping[str, Any]) -> Params:
    document = params.model_dump(by_alias=True)
    for key, value in values.items():
        *parents, last = key.split(".")
        place = document
        for parent in parents:
            place = place[parent]
        place[last] = value
    return Params.model_validate(document)


def flat(section: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the leaves of nested sections under their dotted keys."""
    leaves: dict[str, Any] = {}
    for key, value in section.items():
        inner = isinstance(value, Mapping)
        leaves |= flat(value, f"{prefix}{key}.") if inner else {f"{prefix}{key}": value}
    return leaves


def _reason(problem: dict[str, Any]) -> str:
    message = problem["msg"].removeprefix("Value error, ")
    if not problem["loc"]:
        return str(message)
    key = ".".join(map(str, problem["loc"]))
    return f"{key}: {message[0].lower()}{message[1:]}, not {problem['input']!r}"
