"""Through unar and lsar, which read all that rar packs."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from cracks.dataset.ingest.sources.archive_safety import refuse_unsafe
from cracks.dataset.ingest.sources.rar.headers import Unreadable, survey_of
from cracks.dataset.ingest.sources.rar.jobs import Job, require_all
from cracks.system.console import progress

#: What lsar says of one member.
Member = dict[str, Any]


def is_installed() -> bool:
    """Return whether both programs are there."""
    return bool(shutil.which("unar") and shutil.which("lsar"))


def unpack(job: Job) -> None:
    """Write the wanted files.

    Raises:
        SourceError: a member is unsafe, ambiguous, or only a reference.
        Unreadable: unar cannot read it, or not to its end.
    """
    with _named_alone(job) as archive:
        members = _listed(archive, job)
        refuse_unsafe([member["XADFileName"] for member in members], job.path)
        chosen = [member for member in members if _is_chosen(member, job)]
        _require_different(chosen, job)
        if chosen:
            _run_unar(archive, chosen, job)
    for member in chosen:
        _require_written(member, job)


@contextmanager
def _named_alone(job: Job) -> Iterator[Path]:
    """Yield a path of the archive that has no neighbours.

    unar takes neighbours whose names differ in a number for further parts, whatever they hold.
    """
    if job.survey.is_part:
        yield job.path.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="cracks-") as folder:
        alone = Path(folder) / "archive.rar"
        alone.symlink_to(job.path.absolute())
        yield alone


def _listed(archive: Path, job: Job) -> list[Member]:
    listing = subprocess.run(
        ["lsar", "-json", archive],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=_environment(),
        check=False,
    )
    try:
        content = json.loads(listing.stdout)
        announced = _announced(content["lsarProperties"]["XADVolumes"], job)
    except (ValueError, KeyError):
        raise Unreadable("it cannot be listed") from None
    if "lsarError" in content:
        raise Unreadable("the list of its files is incomplete")
    members: list[Member] = content["lsarContents"]
    require_all(len(members), announced)
    return members


def _announced(parts: list[str], job: Job) -> int:
    """Return how many members the headers of all parts announce.

    Raises:
        Unreadable: a part is missing, which unar does not mind.
    """
    if not job.survey.is_part:
        return len(job.survey.checksums)
    surveys = [survey_of(Path(part)) for part in parts]
    for number, survey in enumerate(surveys):
        if survey.part != number:
            raise Unreadable(f"part {number + 1} is missing")
    if surveys[-1].has_next_part:
        raise Unreadable(f"part {len(surveys) + 1} is missing")
    return sum(len(survey.checksums) for survey in surveys)


def _is_chosen(member: Member, job: Job) -> bool:
    name, mode = member["XADFileName"], member.get("XADPosixPermissions", 0)
    if member.get("XADIsDirectory") or not job.wanted(name):
        return False
    if member.get("RAR5RedirectionType") == 5:
        raise job.only_referred_to(name)
    return not member.get("XADIsLink") and stat.S_IFMT(mode) in (0, stat.S_IFREG)


def _require_different(members: list[Member], job: Job) -> None:
    seen = set()
    for name in (member["XADFileName"] for member in members):
        if PurePosixPath(name) in seen:
            raise job.ambiguous(name)
        seen.add(PurePosixPath(name))


def _run_unar(archive: Path, members: list[Member], job: Job) -> None:
    # Only what is chosen is unpacked, so that there is no link to follow.
    indexes = [str(member["XADIndex"]) for member in members]
    options = ["-no-directory", "-force-overwrite", "-output-directory", str(job.folder)]
    with (
        subprocess.Popen(
            ["unar", *options, "-indexes", str(archive), *indexes],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_environment(),
            encoding="utf-8",
            errors="replace",
        ) as process,
        progress(len(members), "Unpacking", "files") as advance,
    ):
        assert process.stdout
        failed = ""
        for line in process.stdout:
            advance(line.rstrip().endswith("OK."))
            failed = failed or (line if "Failed!" in line else "")
    if process.returncode:
        raise Unreadable(failed or "unar failed")


def _require_written(member: Member, job: Job) -> None:
    name = member["XADFileName"]
    place = job.folder / name
    if not place.is_file() or place.stat().st_size != member["XADFileSize"]:
        raise Unreadable(f"{name}: not unpacked")


def _environment() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C.UTF-8"}
