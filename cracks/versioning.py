"""DVC and git: which stages are out of date, bring one up to date, and name what was used."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from cracks.digests import digest_of_file
from cracks.errors import StageError, WorkspaceBusy, WorkspaceError
from cracks.paths import Paths
from cracks.terminal import TERMINAL

logger = logging.getLogger(__name__)

#: Seconds to wait for another process that works in the same workspace.
LOCK_TIMEOUT = 10.0

#: Seconds that an interrupted stage has to remove what it was writing.
CLEAR_UP_TIME = 10.0

#: Tells `python -m tasks` to leave the message of a refusal in a file instead of printing it.
MESSAGE_FILE = "CRACKS_MESSAGE_FILE"


@dataclass(frozen=True)
class CodeVersion:
    """The git commit of a workspace, and whether its tracked files differ from it."""

    commit: str
    dirty: bool


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


def stage_is_up_to_date(paths: Paths, stage: str) -> bool:
    """Return whether DVC finds the stage's inputs, parameters, command and outputs unchanged.

    Raises:
        WorkspaceBusy: another dvc command runs in the workspace.
    """
    from dvc.exceptions import DvcException
    from dvc.lock import LockError
    from dvc.repo import Repo

    try:
        with Repo(str(paths.root)) as repo:
            return not repo.status(targets=[f"{paths.pipeline}:{stage}"])
    except LockError:
        raise _busy(paths) from None
    except DvcException as error:
        raise WorkspaceError(f"DVC cannot read the workspace {paths.root}: {error}") from None


def run_stage(
    paths: Paths, stage: str, *, force: bool = False, variables: Mapping[str, str] | None = None
) -> None:
    """Bring one stage up to date with `dvc repro`; what it prints is passed on.

    Args:
        paths: the workspace.
        stage: its name in dvc.yaml; the stages before it must be up to date.
        force: run it even if DVC finds nothing changed.
        variables: of the environment, for the stage alone.

    Raises:
        StageError: the stage refused; the message is the stage's own.
        WorkspaceBusy: another dvc command runs in the workspace.
    """
    with tempfile.TemporaryDirectory(prefix="cracks-") as folder:
        message = Path(folder) / "message"
        command = ["repro", "--single-item", *(["--force"] if force else []), stage]
        code, output = _dvc(paths, command, {**(variables or {}), MESSAGE_FILE: str(message)})
        if code == 0:
            return
        if message.exists():
            raise StageError(message.read_text(encoding="utf-8"))
    if "is busy" in output or "Unable to acquire lock" in output:
        raise _busy(paths)
    reason = output.strip().splitlines()[-1] if output.strip() else f"exit code {code}"
    raise StageError(
        f"The stage {stage} failed ({reason}). `cd {paths.root} && dvc repro {stage}` shows more."
    )


def _dvc(paths: Paths, command: list[str], variables: dict[str, str]) -> tuple[int, str]:
    """Run dvc; pass its standard error on line by line, and return it with the exit code."""
    # The stages' `python` must be the one that runs now, whether or not its folder is on the path.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    terminal = {TERMINAL: os.ttyname(sys.stderr.fileno())} if sys.stderr.isatty() else {}
    lines = []
    with subprocess.Popen(
        # -P: a file of the workspace must not take the place of a module that dvc imports.
        [sys.executable, "-P", "-m", "dvc", *command],
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
                if not line.startswith("ERROR: "):  # these become the message of the refusal
                    logger.info(line.rstrip())
            return process.wait(), "".join(lines)
        except BaseException:
            _let_end(process)
            raise


def _let_end(process: subprocess.Popen[str]) -> None:
    """Wait for the stage, which a terminal has sent Ctrl-C as well, to clear up; then insist."""
    try:
        process.wait(timeout=CLEAR_UP_TIME)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.wait()


def _busy(paths: Paths) -> WorkspaceBusy:
    return WorkspaceBusy(f"Another dvc command runs in {paths.root}. Wait until it ends.")


def code_version(root: Path) -> CodeVersion:
    """Return the commit of the workspace.

    Raises:
        WorkspaceError: it is no git repository, or has no commit.
    """
    commit = _git(root, "rev-parse", "HEAD")
    return CodeVersion(commit, dirty=bool(_git(root, "status", "--porcelain", "-uno")))


def pipeline_digest(paths: Paths) -> str:
    """Return the SHA-256 of dvc.lock, which names the digest of every input and output.

    Raises:
        WorkspaceError: no stage has run yet.
    """
    if not paths.pipeline_lock.is_file():
        raise WorkspaceError(f"{paths.pipeline_lock} does not exist. Run `dvc repro` first.")
    return digest_of_file(paths.pipeline_lock)


def _git(root: Path, *arguments: str) -> str:
    result = subprocess.run(
        ["git", *arguments], cwd=root, capture_output=True, text=True, check=False
    )
    if result.returncode:
        reason = result.stderr.strip().splitlines()[-1] if result.stderr.strip() else "no reason"
        raise WorkspaceError(f"git cannot read {root}: {reason}.")
    return result.stdout.strip()


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
