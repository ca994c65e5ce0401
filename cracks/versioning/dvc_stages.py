"""DVC and git: which stages are out of date, bring one up to date, and name what was used."""

from __future__ import annotations

import errno
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from cracks.errors import StageError, WorkspaceBusy, WorkspaceError
from cracks.system.console import PROGRESS_FILE, TERMINAL
from cracks.system.hashing import digest_of_file
from cracks.workspace.paths import Paths

logger = logging.getLogger(__name__)

#: Seconds to wait for another process that works in the same workspace.
LOCK_TIMEOUT = 10.0

#: Seconds that an interrupted stage has to remove what it was writing.
CLEAR_UP_TIME = 10.0

#: Makes `python -m tasks` leave the message of a refusal in a file instead of printing it.
MESSAGE_FILE = "CRACKS_MESSAGE_FILE"


#: In dvc's message about a stage that Ctrl-C has ended.
INTERRUPTED = "exited with 130"

#: The message of the system, and so of every tool, when the disk is full.
DISK_FULL = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))


@contextmanager
def locked_workspace(paths: Paths) -> Iterator[None]:
    """Keep other runs out of the workspace; DVC's own lock fails at once instead of waiting.

    Raises:
        WorkspaceBusy: another process holds it.
    """
    lock = paths.root / ".dvc/tmp/cracks.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock, timeout=LOCK_TIMEOUT):
            yield
    except Timeout:
        raise WorkspaceBusy(
            f"Another run works in {paths.root}. Wait until it ends, or use another clone "
            "(`cracks -C DIR`)."
        ) from None


def stage_is_up_to_date(paths: Paths, stage: str, *, absent_is_unchanged: bool = False) -> bool:
    """Return whether DVC finds the stage's inputs, parameters, command and outputs unchanged.

    Args:
        paths: the workspace.
        stage: its name in dvc.yaml; of the stages before it, dvc.lock says what they wrote.
        absent_is_unchanged: whether data that is not here counts as what dvc.lock says it is.

    Raises:
        WorkspaceBusy: another dvc command runs in the workspace.
    """
    with dvc_repository(paths) as repo:
        if not absent_is_unchanged:
            return not repo.status(targets=[f"{paths.pipeline}:{stage}"])
        with repo.lock:
            loaded = repo.stage.load_one(str(paths.pipeline), stage)
            return not loaded.changed(allow_missing=True, upstream=repo.index.stages)


@contextmanager
def dvc_repository(paths: Paths) -> Iterator[Any]:
    """Yield the workspace as an open `dvc.repo.Repo`.

    Raises:
        WorkspaceError: DVC cannot read it, or refuses what the block asks for.
        WorkspaceBusy: another dvc command runs in it.
    """
    from dvc.exceptions import DvcException
    from dvc.lock import LockError
    from dvc.repo import Repo

    try:
        with Repo(str(paths.root)) as repo:
            yield repo
    except LockError:
        raise _busy(paths) from None
    except DvcException as error:
        raise WorkspaceError(f"DVC cannot read the workspace {paths.root}: {error}") from None


def run_stage(
    paths: Paths,
    stage: str,
    *,
    force: bool = False,
    variables: Mapping[str, str] | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> None:
    """Bring one stage up to date with `dvc repro`; what it prints is passed on.

    Args:
        paths: the workspace.
        stage: its name in dvc.yaml; the stages before it must be up to date.
        force: run it even if DVC finds nothing changed.
        variables: of the environment, for the stage alone.
        on_progress: takes how much of its work the stage has done, from 0 to 1.

    Raises:
        StageError: the stage refused; the message is the stage's own.
        KeyboardInterrupt: the stage was interrupted, if this process was not.
        WorkspaceBusy: another dvc command runs in the workspace.
    """
    with tempfile.TemporaryDirectory(prefix="cracks-") as folder:
        message, progress = Path(folder) / "message", Path(folder) / "progress"

        def read_progress() -> None:
            if on_progress and progress.exists():
                found = json.loads(progress.read_text(encoding="utf-8"))
                on_progress(found["done"] / found["total"] if found["total"] else 1.0)

        command = ["repro", "--single-item", *(["--force"] if force else []), stage]
        settings = {MESSAGE_FILE: str(message), PROGRESS_FILE: str(progress)}
        code, output = run_dvc(paths, command, {**(variables or {}), **settings}, read_progress)
        if code == 0:
            return
        if message.exists():
            raise StageError(message.read_text(encoding="utf-8"))
    if INTERRUPTED in output:
        raise KeyboardInterrupt
    if "is busy" in output or "Unable to acquire lock" in output:
        raise _busy(paths)
    if any(said in output for said in DISK_FULL):
        raise StageError(
            f"The stage {stage} failed: the disk is full. Make room for {paths.root}, or in "
            f"{tempfile.gettempdir()}, then run it again: what was done before is kept."
        )
    reason = output.strip().splitlines()[-1] if output.strip() else f"exit code {code}"
    raise StageError(
        f"The stage {stage} failed ({reason}). `cd {paths.root} && dvc repro {stage}` shows more."
    )


def run_dvc(
    paths: Paths,
    command: list[str],
    variables: dict[str, str],
    on_line: Callable[[], None] | None = None,
    *,
    program: str = "dvc",
) -> tuple[int, str]:
    """Run dvc; pass its standard error on line by line, and return it with the exit code."""
    # The stages' `python` must be the one that runs now, whether or not its folder is on the path.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    terminal = {TERMINAL: os.ttyname(sys.stderr.fileno())} if sys.stderr.isatty() else {}
    lines = []
    with subprocess.Popen(
        # -P: a file of the workspace must not take the place of a module that dvc imports.
        [sys.executable, "-P", "-m", program, *command],
        cwd=paths.root,
        env={**os.environ, "PATH": path, **variables, **terminal},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as process:
        try:
            for line in process.stderr or ():
                lines.append(line)
                if on_line is not None:
                    on_line()
                if not line.startswith("ERROR: "):  # these become the message of the refusal
                    logger.info(line.rstrip())
            return process.wait(), "".join(lines)
        except BaseException:
            _let_end(process)
            raise


def _let_end(process: subprocess.Popen[str]) -> None:
    """Wait for the stage, which a terminal has sent Ctrl-C as well, to clean up; then kill it."""
    try:
        process.wait(timeout=CLEAR_UP_TIME)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.wait()


def _busy(paths: Paths) -> WorkspaceBusy:
    return WorkspaceBusy(f"Another dvc command runs in {paths.root}. Wait until it ends.")


def changes_since(paths: Paths) -> list[str]:
    """Return in words what differs from dvc.lock, as `train: cracks/images modified`.

    Raises:
        WorkspaceError: DVC cannot read the workspace.
    """
    with dvc_repository(paths) as repo:
        status: dict[str, list[Any]] = repo.status()
    return sorted(
        f"{stage.rpartition(':')[2]}: {change}"
        for stage, entries in status.items()
        for entry in entries
        for change in _changes(entry, paths)
    )


def _changes(entry: Any, paths: Paths) -> Iterator[str]:
    """Yield the changes in an entry of DVC's status: a sentence, or states by path."""
    if isinstance(entry, str):
        yield entry
        return
    for changed in entry.values():
        for path, state in changed.items():
            # DVC prints paths relative to the current folder, if that is in the workspace.
            base = Path.cwd() if Path.cwd().is_relative_to(paths.root) else paths.root
            seen = Path(os.path.relpath(base / path, paths.root)).as_posix()
            if isinstance(state, str):
                yield f"{seen} {state}"
            else:
                yield from (f"{seen} {key} {how}" for key, how in state.items())


def pipeline_digest(paths: Paths) -> str:
    """Return the SHA-256 of dvc.lock, which names the digest of every input and output.

    Raises:
        WorkspaceError: no stage has run yet.
    """
    if not paths.pipeline_lock.is_file():
        raise WorkspaceError(f"{paths.pipeline_lock} does not exist. Run `dvc repro` first.")
    return digest_of_file(paths.pipeline_lock)


def output_digest(paths: Paths, stage: str, output: str) -> str:
    """Return DVC's digest of an output in dvc.lock; a folder's ends in `.dir`.

    Raises:
        WorkspaceError: the stage has not run.
    """
    from ruamel.yaml import YAML

    lock = YAML(typ="safe").load(paths.pipeline_lock) if paths.pipeline_lock.is_file() else {}
    for entry in lock.get("stages", {}).get(stage, {}).get("outs", []):
        if entry["path"] == output:
            return str(entry["md5"])
    raise WorkspaceError(f"dvc.lock has no {output} of {stage}. Run `dvc repro` first.")
