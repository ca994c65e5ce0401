"""The data that DVC tracks: what is here, what is in the remote, pull and push."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cracks.errors import RemoteError, RemoteUnavailable, one_line
from cracks.versioning.dvc_stages import dvc_repository, run_dvc
from cracks.workspace.paths import Paths

logger = logging.getLogger(__name__)

#: The remote that `use_remote` writes.
REMOTE = "elsewhere"


#: In dvc's messages about a transfer: a transient refusal; credentials without access.
NOT_NOW = ("Connection", "connect to", "timed out", "Timeout", "SlowDown", "Unavailable", "(50")


DENIED = ("Forbidden", "AccessDenied", "Access Denied", "credentials", "InvalidAccessKey", "(403)")


def share_storage(source: Paths, target: Paths) -> None:
    """Let another workspace read and write the cache and the remotes of this one.

    What is written to its .dvc/config.local, which git ignores, are whole paths.
    """
    from dvc.config import Config

    with dvc_repository(source) as repo:
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
    """Put the outputs that dvc.lock names into place; return those that are missing.

    They come from the cache, or else from the default remote. Outputs that DVC does not cache
    (`cache: false`) are left alone.
    """
    run_dvc(paths, ["checkout", "--force"], {})
    if _absent(paths):
        logger.info("Fetching what the cache does not have from the remote")
        run_dvc(paths, ["fetch"], {})
        run_dvc(paths, ["checkout", "--force"], {})
    return _absent(paths)


def _absent(paths: Paths) -> list[str]:
    cached = (path for path, _ in recorded_outputs(paths, cached=True))
    return [path for path in cached if not (paths.root / path).exists()]


def use_remote(paths: Paths, address: str) -> None:
    """Let this workspace alone keep its data at `address`; credentials are the environment's."""
    from dvc.config import Config

    with Config(str(paths.root / ".dvc")).edit("local") as local:
        local["remote"][REMOTE] = {"url": address}
        local["core"]["remote"] = REMOTE


def default_remote(paths: Paths) -> tuple[str, str | None]:
    """Return address and endpoint of the remote that data goes to; no address if there is none."""
    from dvc.config import Config

    # Not through Repo, which wants a git repository: a back-up needs none.
    config = Config(str(paths.root / ".dvc"))
    settings = config["remote"].get(config["core"].get("remote"), {})
    return str(settings.get("url", "")), settings.get("endpointurl")


def absent_inputs(paths: Paths, stage: str) -> list[str]:
    """Return what a stage reads of other stages' outputs, or of its own, that is not here."""
    with dvc_repository(paths) as repo:
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
    cached = [path for path, _ in recorded_outputs(paths, cached=True) if path not in absent]
    if cached:
        _transfer(paths, "push", cached)
    if lost := _not_in_remote(paths, absent):
        raise _lost(paths, lost)


def _lost(paths: Paths, outputs: Sequence[str]) -> RemoteError:
    return RemoteError(
        f"{default_remote(paths)[0]} lacks {', '.join(outputs)}, which dvc.lock names: the "
        "model could not be rebuilt. `dvc push` in the clone that made it."
    )


def _not_in_remote(paths: Paths, outputs: Sequence[str]) -> list[str]:
    with dvc_repository(paths) as repo:
        remote = repo.cloud.get_remote_odb(hash_name="md5")
        # The list of a folder's files is sent after all of them.
        digests = recorded_outputs(paths, cached=True)
        try:
            return [path for path, md5 in digests if path in outputs and not remote.exists(md5)]
        except Exception as error:  # of the storage's own library, each has its own
            raise RemoteUnavailable(
                f"{default_remote(paths)[0]} cannot be read ({one_line(error)}). Run it again in a "
                "while."
            ) from None


def _transfer(paths: Paths, verb: str, outputs: Sequence[str]) -> None:
    code, output = run_dvc(paths, [verb, *outputs], {}, program="cracks.versioning.dvc_cli")
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


def recorded_outputs(paths: Paths, *, cached: bool) -> list[tuple[str, str]]:
    """Return path and digest of the outputs in dvc.lock that DVC caches, or of the others.

    Raises:
        WorkspaceError: dvc.yaml or dvc.lock cannot be read.
    """
    with dvc_repository(paths) as repo:
        outputs = [out for out in repo.index.outs if out.use_cache == cached and out.hash_info]
        return [
            (Path(out.fs_path).relative_to(paths.root).as_posix(), str(out.hash_info.value))
            for out in outputs
        ]
