"""Read, check and change params.yaml; what is wrong in it is refused by its key."""

from __future__ import annotations

import difflib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from cracks.errors import ParamsError, one_line
from cracks.system.atomic_files import write_text
from cracks.workspace.params import LIMITS, LimitParams, Params


def load_params(path: Path) -> Params:
    """Return the checked content of the params.yaml at `path`.

    Raises:
        ParamsError: the file is missing or no YAML, or a key is unknown, missing or out of range.
    """
    return _checked(_read(path, YAML(typ="safe")), path, remedy=f"Fix it in {path}.")


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
        raise ParamsError(f"{path} is no YAML: {one_line(error)}") from None


def _assign(document: Any, assignment: str, path: Path) -> None:
    dotted, equals, text = assignment.partition("=")
    if not equals:
        raise ParamsError(f"`-S {assignment}` has no `=`. Write `-S train.epochs=20`.")
    try:
        value = YAML(typ="safe").load(text) if text else ""
    except YAMLError:
        raise ParamsError(f"`-S {assignment}`: {text!r} is no YAML value.") from None
    place, last = _place(document, dotted)
    is_limit = _parts(dotted)[0][:2] == LIMITS
    if not isinstance(place, dict) or (last not in place and not is_limit):
        raise ParamsError(f"{path.name}: unknown key {dotted}.{_suggestion(dotted)}")
    old = place.get(last)
    if value != old or isinstance(value, bool) != isinstance(old, bool):  # 0.3 is 0.30
        place[last] = value


def _place(document: Any, dotted: str) -> tuple[Any, str]:
    """Return what should hold a key, and the last part of the key; a new limit is begun."""
    parents, last = _parts(dotted)
    place = document
    for key in parents:
        if not isinstance(place, dict):
            return None, last
        is_limit = parents[:2] == LIMITS and key not in LIMITS
        place = place.setdefault(key, {}) if is_limit else place.get(key)
    return place, last


def _parts(dotted: str) -> tuple[list[str], str]:
    """Return the keys above the last one, and it; the names of limits have dots themselves."""
    *parents, last = dotted.split(".")
    if parents[:2] != LIMITS:
        return parents, last
    if last in LimitParams.model_fields:
        return [*LIMITS, ".".join(parents[2:])], last
    return LIMITS, ".".join([*parents[2:], last])


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
