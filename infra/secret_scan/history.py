"""What git ever added to a file and that is not there any more: whoever clones, has it."""

from __future__ import annotations

import subprocess
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from infra.secret_scan.accepted import NAME as ACCEPTED


def tracked_files(repository: Path) -> list[Path]:
    """Return the files that git tracks, or would if they were added, relative to the repository."""
    listed = _git(repository, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    names = [Path(name) for name in listed.split("\0") if name]
    return [name for name in names if (repository / name).is_file()]


def removed_lines(repository: Path) -> dict[Path, list[str]]:
    """Return the lines that any commit added to a file and that the file no longer has."""
    added = _added_lines(_log(repository))
    return {
        path: left for path, lines in added.items() if (left := _without(lines, repository / path))
    }


def write_removed(repository: Path, folder: Path) -> list[Path]:
    """Write those lines into files of the same names below a folder; return these."""
    written = []
    for path, lines in removed_lines(repository).items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        written.append(file)
    return written


def _log(repository: Path) -> str:
    how = ["--patch", "--unified=0", "--format=", "-m", "--no-color", "--no-ext-diff", "--text"]
    # A lock, and what was accepted, is nothing but digests; images and archives are no text.
    left_out = ("uv.lock", ACCEPTED, "*.jpg", "*.rar")
    return _git(repository, "log", *how, "--", ".", *(f":!{name}" for name in left_out))


def _added_lines(log: str) -> dict[Path, dict[str, None]]:
    added: dict[Path, dict[str, None]] = defaultdict(dict)
    path, before = Path(), ""
    for line in log.splitlines():
        if line.startswith("+++ b/") and before.startswith("--- "):
            path = Path(line.removeprefix("+++ b/").rstrip("\t"))
        elif line.startswith("+"):
            added[path][line[1:]] = None
        before = line
    return added


def _without(lines: Iterable[str], file: Path) -> list[str]:
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    present = set(text.splitlines())
    return [line for line in lines if line not in present]


def _git(repository: Path, *arguments: str) -> str:
    command = ["git", "-c", "core.quotepath=off", "-C", str(repository), *arguments]
    done = subprocess.run(command, capture_output=True, check=True)
    return done.stdout.decode("utf-8", errors="replace")
