"""What holds for every archive: its suffix, the names in it, and its refusal when it is damaged."""

from __future__ import annotations

import re
from collections.abc import Iterable

from cracks.errors import SourceError

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
ARCHIVE_SUFFIXES = (".zip", ".rar", *TAR_SUFFIXES)


def is_archive(name: str) -> bool:
    """Return whether a name says `archive`, without opening the file."""
    return name.lower().endswith(ARCHIVE_SUFFIXES)


def refuse_unsafe(names: Iterable[str], where: object) -> None:
    """Refuse names that would lead out of the folder they are unpacked to.

    Raises:
        SourceError: one of them does; the whole archive is refused.
    """
    for name in names:
        posix = name.replace("\\", "/")
        if posix.startswith("/") or re.match(r"[A-Za-z]:", posix) or ".." in posix.split("/"):
            raise SourceError(
                f"ingest.source: the archive {where} holds {name!r}, which points outside of it. "
                "It is refused as a whole; nothing was read."
            )


def damaged(where: object, reason: str) -> SourceError:
    """Return the refusal of an archive that cannot be read to its end."""
    reason = " ".join(reason.split())
    return SourceError(
        f"ingest.source: the archive {where} is damaged or cut short ({reason}). Fetch it again."
    )
