"""Read photos.csv, in which a team says which photograph each of its patches was cut from.

    path,photo,site,taken
    Positive/0001.jpg,IMG_0012,bridge 7,2026-05-03T10:15:12

`site` and `taken` may be missing, as columns or line by line.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from cracks.errors import SourceError

#: The file, at the top of a source.
PHOTO_TABLE = "photos.csv"

NEEDED, OPTIONAL = ("path", "photo"), ("site", "taken")

#: What spreadsheets put between columns.
DELIMITERS = ",;\t"


@dataclass(frozen=True)
class PhotoRow:
    """What a team says of one file; None where it says nothing."""

    photo: str
    site: str | None = None
    taken: datetime | None = None  # without a time zone: the clock of the camera


def parse_photo_table(content: bytes, paths: Collection[str], name: str) -> dict[str, PhotoRow]:
    """Return what photos.csv says, by path.

    Args:
        content: the file: CSV in UTF-8, with a head.
        paths: the files of the source; those that the table does not name are left to other clues.
        name: of the table, for messages.

    Raises:
        SourceError: the table is not sound; the message names the first line that is not.
    """
    known, rows = set(paths), dict[str, PhotoRow]()
    site_of: dict[str, tuple[str | None, int]] = {}
    for line, given in _lines(content, name):
        path = (given.get("path") or "").strip().replace("\\", "/")
        if path not in known:
            raise _refused(
                name, line, f"the source has no file {path!r}. Paths are {_example(paths)}"
            )
        if path in rows:
            raise _refused(name, line, f"{path} stands in the table twice")
        photo, site = ((given.get(key) or "").strip() for key in ("photo", "site"))
        if not photo:
            raise _refused(
                name,
                line,
                f"{path} has no photo. Leave out the lines of files whose photograph nobody knows",
            )
        row = PhotoRow(photo, site or None, _time(given.get("taken"), name, line))
        before, where = site_of.setdefault(photo, (row.site, line))
        if before != row.site:
            raise _refused(
                name,
                line,
                f"photo {photo!r} is of site {row.site or '(none)'!r} here and of "
                f"{before or '(none)'!r} in line {where}. One photograph has one site; give the "
                "photographs of two sites different names",
            )
        rows[path] = row
    return rows


def _lines(content: bytes, name: str) -> list[tuple[int, dict[str, str]]]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise _refused(name, line, "it is not UTF-8. Save the table as CSV (UTF-8)") from None
    head = text.partition("\n")[0]
    delimiter = max(DELIMITERS, key=head.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        columns = [column.strip().lower() for column in reader.fieldnames or []]
        reader.fieldnames = columns
        if lacking := [column for column in NEEDED if column not in columns]:
            raise _refused(
                name,
                1,
                f"there is no column {' and no '.join(lacking)}. The first line is "
                f"{','.join(NEEDED)}, or {','.join((*NEEDED, *OPTIONAL))}",
            )
        rows = [(reader.line_num, row) for row in reader if any(row.values())]
    except csv.Error as error:
        raise _refused(name, reader.line_num + 1, f"it is no CSV: {error}") from None
    for line, row in rows:
        if None in row:
            raise _refused(name, line, f"it has more than {len(columns)} cells")
    return rows


def _time(text: str | None, name: str, line: int) -> datetime | None:
    if not (text := (text or "").strip()):
        return None
    try:
        return datetime.fromisoformat(text).replace(tzinfo=None)
    except ValueError:
        raise _refused(
            name, line, f"{text!r} is no time. Write 2026-05-03 or 2026-05-03T10:15:12"
        ) from None


def _example(paths: Collection[str]) -> str:
    return f"as {min(paths, default='Positive/0001.jpg')}"


def _refused(name: str, line: int, reason: str) -> SourceError:
    return SourceError(f"ingest.source: {name}, line {line}: {reason}. Nothing was changed.")
