"""DVC and git: which stages are out of date, bring one up to date, and name what was used."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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

COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


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


def has_commit(root: Path, commit: str) -> bool:
    """Return whether the repository of the workspace has a commit, on whatever branch or on none.

    Args:
        root: of the workspace.
        commit: its whole hexadecimal name.
    """
    if not COMMIT.fullmatch(commit):
        return False
    command = ["git", "cat-file", "-e", f"{commit}^{{commit}}"]
    return subprocess.run(command, cwd=root, capture_output=True, check=False).returncode == 0


def clone_at(paths: Paths, commit: str, target: Path) -> None:
    """Clone the repository of a workspace to the new folder `target`, at one of its commits.

    Raises:
        WorkspaceError: git refused.
    """
    # A clone of a local folder brings commits too that no branch leads to any more.
    options = ["--quiet", "--no-hardlinks", "--no-checkout"]
    _git(paths.root, "clone", *options, "--", str(paths.root), str(target))
    _git(target, "checkout", "--quiet", "--detach", commit)


def share_storage(source: Paths, target: Paths) -> None:
    """Let another workspace read and write the cache and the remotes of this one.

    What is written to its .dvc/config.local, which git ignores, are whole paths.
    """
    from dvc.config import Config
    from dvc.repo import Repo

    with Repo(str(source.root)) as repo:
        cache, remotes = repo.cache.local_cache_dir, repo.config["remote"]
        default = repo.config["core"].get("remote")
    with Config(str(target.root / ".dvc")).edit("local") as local:
        local["cache"]["dir"] = str(cache)
        for name, settings in remotes.items():
            local["remote"][name] = {key: _plain(value) for key, value in settings.items()}
        if default:
            local["core"]["remote"] = default


def _plain(value: Any) -> Any:
    """Return a path that DVC would write relative to its own file as the whole path that it is."""
    return str(value) if isinstance(value, str) else value


def bring_data(paths: Paths) -> list[str]:
    """Put the outputs that dvc.lock names into place; return those that could not be had.

    They come from the cache, or else from the default remote. Outputs that DVC does not keep
    (`cache: false`) are none of its business.
    """
    _dvc(paths, ["checkout", "--force"], {})
    if _absent(paths):
        logger.info("Fetching what the cache does not have from the remote")
        _dvc(paths, ["fetch"], {})
        _dvc(paths, ["checkout", "--force"], {})
    return _absent(paths)


def _absent(paths: Paths) -> list[str]:
    kept = (path for path, _ in recorded_outputs(paths, kept=True))
    return [path for path in kept if not (paths.root / path).exists()]


def recorded_outputs(paths: Paths, *, kept: bool) -> list[tuple[str, str]]:
    """Return path and digest of the outputs in dvc.lock that DVC keeps, or of those it does not.

    Raises:
        WorkspaceError: dvc.yaml or dvc.lock cannot be read.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(paths.root)) as repo:
            outputs = [out for out in repo.index.outs if out.use_cache == kept and out.hash_info]
            return [
                (Path(out.fs_path).relative_to(paths.root).as_posix(), str(out.hash_info.value))
                for out in outputs
            ]
    except DvcException as error:
        raise WorkspaceError(f"DVC cannot read the workspace {paths.root}: {error}") from None


def changes_since(paths: Paths) -> list[str]:
    """Return in words what is not as dvc.lock says, as `evaluate: cracks/metrics.py modified`.

    Raises:
        WorkspaceError: DVC cannot read the workspace.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(paths.root)) as repo:
            status: dict[str, list[Any]] = repo.status()
    except DvcException as error:
        raise WorkspaceError(f"DVC cannot read the workspace {paths.root}: {error}") from None
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
            # DVC tells paths as they are seen from the current folder, if that is in the workspace.
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
