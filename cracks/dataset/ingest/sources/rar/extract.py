"""Unpack .rar archives: through libarchive, and where that cannot, through unar.

Neither is strict. libarchive compares no checksum of members that are stored uncompressed, as
photographs often are; both take a cut between two members, or a missing part, for the end. So the
headers are walked first, which is quick, and what comes out is compared with what they announce.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from cracks.dataset.ingest.sources.archive_safety import damaged
from cracks.dataset.ingest.sources.rar import libarchive_way, unar_way
from cracks.dataset.ingest.sources.rar.headers import Survey, Unreadable, survey_of
from cracks.dataset.ingest.sources.rar.jobs import Job
from cracks.errors import SourceError

BY_HAND = "Or unpack it by hand and point ingest.source to the folder."

__all__ = ["extract_rar"]


def extract_rar(path: Path, folder: Path, wanted: Callable[[str], bool]) -> None:
    """Write the files with a wanted name below an empty folder, and nothing elsewhere.

    Links and devices are left out, whatever their names. After a refusal the folder may hold files.

    Raises:
        SourceError: the archive is damaged, cut short, encrypted or unsafe, or no tool reads it.
    """
    try:
        job = Job(path, folder, survey_of(path), wanted)
        if job.survey.is_encrypted:
            raise SourceError(
                f"ingest.source: the archive {path} is encrypted. Unpack it by hand with its "
                "password and point ingest.source to the folder."
            )
        _unpack(job)
    except Unreadable as error:
        raise damaged(path, str(error)) from None
    except OSError as error:
        raise SourceError(
            f"ingest.source: the archive {path} cannot be unpacked to {folder}: {error.strerror}. "
            "Let it be read, or make room there (TMPDIR names another place)."
        ) from None


def _unpack(job: Job) -> None:
    failures = []
    for way in _ways(job.survey):
        try:
            way(job)
            return
        except Unreadable as error:
            failures.append(error)
            shutil.rmtree(job.folder)
            job.folder.mkdir()
    if not failures:
        raise _no_tool(job)
    if unar_way.is_installed():
        raise failures[0]
    raise SourceError(
        f"{damaged(job.path, str(failures[0]))} If that changes nothing, `apt-get install unar`: "
        "it reads some that libarchive cannot."
    )


def _ways(survey: Survey) -> Iterator[Callable[[Job], None]]:
    if libarchive_way.reads(survey) and libarchive_way.is_installed():
        yield libarchive_way.unpack
    if unar_way.is_installed():
        yield unar_way.unpack


def _no_tool(job: Job) -> SourceError:
    if libarchive_way.reads(job.survey):
        return SourceError(
            f"ingest.source: reading {job.path} needs libarchive: `apt-get install libarchive13` "
            f"(or unar). {BY_HAND}"
        )
    kind = "is one of several parts" if job.survey.is_part else "is a solid archive of RAR 4"
    return SourceError(
        f"ingest.source: {job.path} {kind}, which only unar reads: `apt-get install unar`. "
        f"{BY_HAND}"
    )
