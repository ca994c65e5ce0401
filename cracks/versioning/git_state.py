"""The git commit of a workspace: read it, and clone the workspace at another one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from cracks.errors import WorkspaceError
from cracks.versioning.git_command import reason_of, run_git
from cracks.workspace.paths import Paths

COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True)
class CodeVersion:
    """The git commit of a workspace, and whether its tracked files differ from it."""

    commit: str
    dirty: bool


def code_version(root: Path) -> CodeVersion:
    """Return the commit of the workspace.

    Raises:
        WorkspaceError: it is no git repository, or has no commit.
    """
    commit = _git(root, "rev-parse", "HEAD")
    return CodeVersion(commit, dirty=bool(_git(root, "status", "--porcelain", "-uno")))


def has_commit(root: Path, commit: str) -> bool:
    """Return whether the repository of the workspace has a commit, on any branch or on none.

    Args:
        root: of the workspace.
        commit: its whole hexadecimal name.
    """
    if not COMMIT.fullmatch(commit):
        return False
    return run_git(root, "cat-file", "-e", f"{commit}^{{commit}}").returncode == 0


def clone_at(paths: Paths, commit: str, target: Path) -> None:
    """Clone the repository of a workspace to the new folder `target`, at one of its commits.

    Raises:
        WorkspaceError: git refused.
    """
    # A clone of a local folder also has commits that no branch reaches any more.
    options = ["--quiet", "--no-hardlinks", "--no-checkout"]
    _git(paths.root, "clone", *options, "--", str(paths.root), str(target))
    _git(target, "checkout", "--quiet", "--detach", commit)


def _git(root: Path, *arguments: str) -> str:
    done = run_git(root, *arguments)
    if done.returncode:
        raise WorkspaceError(f"git cannot read {root}: {reason_of(done)}.")
    return done.stdout.strip()
