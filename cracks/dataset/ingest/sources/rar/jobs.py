"""One archive to unpack: what both ways know of it, demand of it, and refuse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cracks.dataset.ingest.sources.rar.headers import Survey, Unreadable
from cracks.errors import SourceError


@dataclass(frozen=True)
class Job:
    """An archive, the folder to unpack it to, what its headers say, and which names are wanted."""

    path: Path
    folder: Path
    survey: Survey
    wanted: Callable[[str], bool]

    def ambiguous(self, name: str) -> SourceError:
        """Return the refusal of a name that two members claim."""
        return SourceError(
            f"ingest.source: the archive {self.path} holds {name!r} twice, or as a file and as a "
            "folder. Unpack it by hand, keep the one that is meant, and point ingest.source to "
            "the folder."
        )

    def only_referred_to(self, name: str) -> SourceError:
        """Return the refusal of a member whose content neither tool copies from its equal."""
        return SourceError(
            f"ingest.source: the archive {self.path} holds {name!r} only as a reference to an "
            "equal file. Unpack it by hand with WinRAR or unrar and point ingest.source to the "
            "folder."
        )


def require_all(count: int, announced: int) -> None:
    """Demand that a tool finds as many members as the headers announce.

    Raises:
        Unreadable: it does not.
    """
    if count != announced:
        raise Unreadable(f"{count:,} of {announced:,} members")
