"""What every source is: labelled files, read in a fixed order, and tables of their photographs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from cracks.dataset.labels import LABEL_OF_FOLDER
from cracks.dataset.photos.photo_table import PHOTO_TABLE, PhotoRow, parse_photo_table


@dataclass(frozen=True)
class SourceFile:
    """One file: the name of its source, its path inside it, its label, and its bytes."""

    source: str
    path: str
    label: str
    content: bytes


class Source(ABC):
    """A place of labelled files, read in a fixed order, and of tables of their photographs."""

    def __init__(self, name: str) -> None:
        """Remember the name under which the manifest lists the files."""
        self.name = name
        #: One line a file that was downloaded from a publisher: its name, size and SHA-256.
        self.described_files: list[str] = []

    @abstractmethod
    def paths(self) -> list[str]:
        """Return the path of every labelled file, in reading order."""

    @abstractmethod
    def digest(self) -> str:
        """Return 64 hexadecimal digits that change when the content changes."""

    @abstractmethod
    def contents(self) -> Iterator[tuple[str, bytes]]:
        """Yield path and bytes of every labelled file, in the order of `paths`."""

    def photo_tables(self) -> dict[str, bytes]:
        """Return every photos.csv by its path; asked when `contents` has been read.

        Raises:
            SourceError: one cannot be read.
        """
        return {}

    def photo_rows(self) -> dict[str, PhotoRow]:
        """Return what the tables say, by path; each speaks of the folder that it lies in.

        Raises:
            SourceError: one cannot be read, or is not sound.
        """
        rows, paths = dict[str, PhotoRow](), self.paths()
        for table, content in self.photo_tables().items():
            prefix = table.removesuffix(PurePosixPath(table).name)
            below = [path for path in paths if path.startswith(prefix)]
            found = parse_photo_table(
                content, [path.removeprefix(prefix) for path in below], f"{self.name}/{table}"
            )
            rows |= {prefix + path: row for path, row in found.items()}
        return rows

    def files(self) -> Iterator[SourceFile]:
        """Yield every labelled file.

        Raises:
            SourceError: a file cannot be read.
        """
        for path, content in self.contents():
            yield SourceFile(self.name, path, label_of(path) or "", content)


def label_of(path: str) -> str | None:
    """Return the label of a file by the last folder on its path that is named after a label.

    None for what is no labelled photograph.
    """
    parts = PurePosixPath(path).parts
    if len(parts) < 2 or _left_behind(parts) or is_photo_table(path):
        return None
    labels = (LABEL_OF_FOLDER.get(folder.lower()) for folder in reversed(parts[:-1]))
    return next((label for label in labels if label), None)


def labelled(path: str) -> bool:
    """Return whether a path is that of a labelled photograph."""
    return label_of(path) is not None


def is_photo_table(path: str) -> bool:
    """Return whether a path is that of a table of photographs."""
    parts = PurePosixPath(path).parts
    return bool(parts) and parts[-1].lower() == PHOTO_TABLE and not _left_behind(parts)


def wanted(path: str) -> bool:
    """Return whether a source needs the file at a path."""
    return labelled(path) or is_photo_table(path)


def _left_behind(parts: tuple[str, ...]) -> bool:
    """Return whether a file was left behind by a file manager."""
    return parts[-1].startswith(".") or "__MACOSX" in parts
