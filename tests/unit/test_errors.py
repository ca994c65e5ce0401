"""The family of errors: the tree in the docstring is the tree of the classes."""

from __future__ import annotations

import inspect
import re

import pytest

from cracks import errors

CLASSES = {
    name: kind
    for name, kind in inspect.getmembers(errors, inspect.isclass)
    if kind.__module__ == errors.__name__
}


def _drawn() -> dict[str, tuple[str | None, bool]]:
    """Return name -> (parent, whether it is transient), as drawn."""
    assert errors.__doc__
    drawn: dict[str, tuple[str | None, bool]] = {}
    path: list[str] = []
    for line in errors.__doc__.splitlines()[2:]:
        found = re.match(r"([│├└─ ]*)(\w+)", line)
        assert found, f"no part of a tree: {line!r}"
        depth, name = len(found[1]) // 4, found[2]
        path[depth:] = [name]
        drawn[name] = (path[depth - 1] if depth else None, "(transient)" in line)
    return drawn


def test_the_tree_names_every_error_and_no_other() -> None:
    assert _drawn().keys() == CLASSES.keys()


@pytest.mark.parametrize("name", CLASSES)
def test_an_error_stands_below_its_base(name: str) -> None:
    parent, _ = _drawn()[name]
    assert CLASSES[name].__bases__ == (CLASSES[parent] if parent else Exception,)


@pytest.mark.parametrize("name", CLASSES)
def test_the_tree_says_which_errors_are_transient(name: str) -> None:
    assert CLASSES[name].is_transient is _drawn()[name][1]


def test_a_failed_validation_carries_its_report() -> None:
    error = errors.ValidationFailed("broken: patches", {"success": False})
    assert str(error) == "broken: patches"
    assert error.report == {"success": False}
