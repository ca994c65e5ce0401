"""What every source of photographs is: labelled files, read in a fixed order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from cracks.dataset.labels import LABEL_OF_FOLDER


@dataclass(frozen=True)
class SourceFile:
    """One file: the name of its source, its path inside it, its label, and its bytes."""

    source: str
    path: str
    label: str
    content: bytes


class Source(ABC):
    """A place of labelled files, read in a fixed order."""

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

    def files(self) -> Iterator[SourceFile]:
        """Yield every labelled file.

        Raises:
            SourceError: a file cannot be read.
        """
        for path, content in self.contents():
            yield SourceFile(self.name, path, label_of(path) or "", content)


def label_of(path: str) -> str | None:
    """Return the label of a file by its folder; None for what is no labelled photograph."""
    parts = PurePosixPath(path).parts
    if len(parts) < 2 or parts[-1].startswith(".") or "__MACOSX" in parts:
        return None  # what file managers leave behind is no photograph
    return LABEL_OF_FOLDER.get(parts[-2].lower())


def labelled(path: str) -> bool:
    """Return whether a path is that of a labelled photograph."""
    return label_of(path) is not None
