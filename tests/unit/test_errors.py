"""The family of errors: the tree in the docstring is the tree of the classes."""

from __future__ import annotations

import inspect
import re

from cracks import errors

CLASSES = {
    name: kind
    for name, kind in inspect.getmembers(errors, inspect.isclass)
    if kind.__module__ == errors.__name__
}


def _drawn() -> dict[str, tuple[list[str], bool]]:
    """Return name -> (bases, whether it is transient), as drawn."""
    assert errors.__doc__
    drawn: dict[str, tuple[list[str], bool]] = {}
    path: list[str] = []
    for line in errors.__doc__.splitlines()[2:]:
        found = re.match(r"([│├└─ ]*)(\w+)", line)
        assert found, f"no part of a tree: {line!r}"
        depth, name = len(found[1]) // 4, found[2]
        path[depth:] = [name]
        drawn[name] = ([path[depth - 1] if depth else "Exception"], "(transient)" in line)
    return drawn


def test_the_tree_draws_every_error_below_its_base_and_says_which_are_transient() -> None:
    assert _drawn() == {
        name: ([base.__name__ for base in kind.__bases__], kind.is_transient)
        for name, kind in CLASSES.items()
    }
