"""DVC and git: which stages are out of date, bring one up to date, and name what was used."""

from __future__ import annotations

import errno
import logging
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from cracks.errors import RemoteError, RemoteUnavailable, StageError, WorkspaceBusy, WorkspaceError
from cracks.system.hashing import digest_of_file
from cracks.system.terminal import TERMINAL
from cracks.workspace.paths import Paths

logger = logging.getLogger(__name__)

#: Seconds to wait for another process that works in the same workspace.
LOCK_TIMEOUT = 10.0

#: Seconds that an interrupted stage has to remove what it was writing.
CLEAR_UP_TIME = 10.0

#: Tells `python -m tasks` to leave the message of a refusal in a file instead of printing it.
MESSAGE_FILE = "CRACKS_MESSAGE_FILE"

#: The remote that `use_remote` writes.
REMOTE = "elsewhere"

#: In what dvc says of a transfer: the storage refuses for now; these credentials do not open it.
NOT_NOW = ("Connection", "connect to", "timed out", "Timeout", "SlowDown", "Unavailable", "(50")
DENIED = ("Forbidden", "AccessDenied", "Access Denied", "credentials", "InvalidAccessKey", "(403)")

#: In what dvc says of a stage that Ctrl-C has ended.
INTERRUPTED = "exited with 130"

#: What the system says, and so every tool, where there is no room for another byte.
DISK_FULL = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))

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


def stage_is_up_to_date(paths: Paths, stage: str, *, absent_is_unchanged: bool = False) -> bool:
    """Return whether DVC finds the stage's inputs, parameters, command and outputs unchanged.

    Args:
        paths: the workspace.
        stage: its name in dvc.yaml; of the stages before it, dvc.lock says what they wrote.
        absent_is_unchanged: whether data that is not here counts as what dvc.lock says it is.

    Raises:
        WorkspaceBusy: another dvc command runs in the workspace.
    """
    from dvc.exceptions import DvcException
    from dvc.lock import LockError
    from dvc.repo import Repo

    try:
        with Repo(str(paths.root)) as repo:
            if not absent_is_unchanged:
                return not repo.status(targets=[f"{paths.pipeline}:{stage}"])
            with repo.lock:
                asked = repo.stage.load_one(str(paths.pipeline), stage)
                return not asked.changed(allow_missing=True, upstream=repo.index.stages)
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
    on_line: Callable[[str], None] | None = None,
) -> None:
    """Bring one stage up to date with `dvc repro`; what it prints is passed on.

    Args:
        paths: the workspace.
        stage: its name in dvc.yaml; the stages before it must be up to date.
        force: run it even if DVC finds nothing changed.
        variables: of the environment, for the stage alone.
        on_line: takes each line that the stage writes to standard error.

    Raises:
        StageError: the stage refused; the message is the stage's own.
        KeyboardInterrupt: the stage was interrupted, if this process was not.
        WorkspaceBusy: another dvc command runs in the workspace.
    """
    with tempfile.TemporaryDirectory(prefix="cracks-") as folder:
        message = Path(folder) / "message"
        command = ["repro", "--single-item", *(["--force"] if force else []), stage]
        settings = {**(variables or {}), MESSAGE_FILE: str(message)}
        code, output = _dvc(paths, command, settings, on_line)
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


def _dvc(
    paths: Paths,
    command: list[str],
    variables: dict[str, str],
    on_line: Callable[[str], None] | None = None,
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
                    on_line(line)
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


def use_remote(paths: Paths, address: str) -> None:
    """Let this workspace alone keep its data at `address`; credentials are the environment's."""
    from dvc.config import Config

    with Config(str(paths.root / ".dvc")).edit("local") as local:
        local["remote"][REMOTE] = {"url": address}
        local["core"]["remote"] = REMOTE


def default_remote(paths: Paths) -> tuple[str, str | None]:
    """Return address and endpoint of the remote that data goes to; no address if there is none."""
    from dvc.repo import Repo

    with Repo(str(paths.root)) as repo:
        name = repo.config["core"].get("remote")
        settings = repo.config["remote"].get(name, {})
        return str(settings.get("url", "")), settings.get("endpointurl")


def absent_inputs(paths: Paths, stage: str) -> list[str]:
    """Return what a stage reads of other stages' outputs, or of its own, that is not here."""
    from dvc.repo import Repo

    with Repo(str(paths.root)) as repo:
        asked = repo.stage.load_one(str(paths.pipeline), stage)
        read = {dep.fs_path for dep in asked.deps}
        read |= {out.fs_path for out in asked.outs if out.persist}
    return [path for path in _absent(paths) if str(paths.root / path) in read]


def pull_data(paths: Paths, outputs: Sequence[str]) -> None:
    """Bring outputs that dvc.lock names from the remote, unless they are here.

    Raises:
        RemoteError: the remote does not have them, or refuses; RemoteUnavailable: for now.
    """
    absent = set(_absent(paths)) & set(outputs)
    if absent:
        logger.info("Bringing %s", ", ".join(sorted(absent)))
        _transfer(paths, "pull", sorted(absent))


def push_data(paths: Paths) -> None:
    """Send every output that is here to the remote, and see that the others are there.

    Raises:
        RemoteError: the remote refuses, or lacks what is not here; RemoteUnavailable: for now.
    """
    absent = _absent(paths)
    kept = [path for path, _ in recorded_outputs(paths, kept=True) if path not in absent]
    if kept:
        _transfer(paths, "push", kept)
    if lost := _not_in_remote(paths, absent):
        raise _lost(paths, lost)


def _lost(paths: Paths, outputs: Sequence[str]) -> RemoteError:
    return RemoteError(
        f"{default_remote(paths)[0]} lacks {', '.join(outputs)}, which dvc.lock names: nobody "
        "could rebuild the model. `dvc push` in the clone that made it."
    )


def _not_in_remote(paths: Paths, outputs: Sequence[str]) -> list[str]:
    from dvc.repo import Repo

    with Repo(str(paths.root)) as repo:
        remote = repo.cloud.get_remote_odb(hash_name="md5")
        # The list of a folder's files is sent after all of them.
        digests = recorded_outputs(paths, kept=True)
        try:
            return [path for path, md5 in digests if path in outputs and not remote.exists(md5)]
        except Exception as error:  # of the storage's own library, each has its own
            reason = " ".join(str(error).split())
            raise RemoteUnavailable(
                f"{default_remote(paths)[0]} cannot be asked ({reason}). Run it again in a while."
            ) from None


def _transfer(paths: Paths, verb: str, outputs: Sequence[str]) -> None:
    code, output = _dvc(paths, [verb, *outputs], {}, program="cracks.versioning.dvc_cli")
    if code == 0:
        return
    if "Missing cache files" in output and (lost := _not_in_remote(paths, outputs)):
        raise _lost(paths, lost)
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    signs = (*DENIED, *NOT_NOW, "ERROR: ")
    causes = [line for line in lines if any(sign in line for sign in signs)]
    reason = (causes or lines or [f"exit code {code}"])[0].removeprefix("ERROR: ")
    what = f"`dvc {verb}` between {paths.root} and {default_remote(paths)[0]} failed ({reason})."
    if any(sign in output for sign in DENIED):
        raise RemoteError(f"{what} Give this machine AWS_* credentials that may read and write it.")
    if any(sign in output for sign in NOT_NOW):
        raise RemoteUnavailable(f"{what} Run it again in a while.")
    raise RemoteError(f"{what} `dvc {verb}` in that folder shows more.")


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
    """Return in words what differs from dvc.lock, as `train: cracks/images modified`.

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
