"""Write an output beside its place and move it in whole, so that nobody ever sees half of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def remove(path: Path) -> None:
    """Remove a file or a whole folder; do nothing where there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def atomic_replace(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write a file or folder to; move it to `path` on success.

    The name is always the same, so what a killed process left is cleared by the next run.

    Raises:
        OSError: the place cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    restore(path)
    remove(partial)
    try:
        yield partial
        if partial.is_dir() and path.is_dir() and not path.is_symlink():
            _replace_folder(path, partial)
        else:
            if partial.is_dir():
                remove(path)
            partial.replace(path)
    finally:
        remove(partial)


def restore(path: Path) -> None:
    """Put back the folder that a process killed between two renames had set aside."""
    aside = _aside(path)
    if aside.exists() and not path.exists():
        aside.replace(path)
    remove(aside)


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.old.partial")


def _replace_folder(path: Path, partial: Path) -> None:
    """Set the old folder aside first: none can be renamed over one that holds files."""
    aside = _aside(path)
    remove(aside)
    path.replace(aside)
    try:
        partial.replace(path)
    except BaseException:
        aside.replace(path)
        raise
    remove(aside)


def write_text(path: Path, text: str) -> None:
    """Write `text` (UTF-8) to `path`, whole or not at all."""
    with atomic_replace(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON with a stable order of keys, whole or not at all."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
