"""Git with a URL only: clone, check out earlier results, commit new ones, push them.

Code comes from one branch. Results (`RESULTS`) go to another, which holds that code and nothing
else of its own, and which is never forced: everything that was pushed stays in its history.
"""

from __future__ import annotations

import logging
import os
import random
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cracks.errors import RemoteError, RemoteUnavailable
from cracks.versioning.git_command import DENIED, NOT_NOW, TOKEN, USER, reason_of, run_git, says

logger = logging.getLogger(__name__)

#: What a training leaves in git.
RESULTS = ("dvc.lock", "reports")

#: How often a push of results is retried because another one was first.
ATTEMPTS = 6

#: In git's message about a push: another one was first.
MOVED = ("[rejected]", "cannot lock ref", "failed to update ref", "incorrect old value")


@dataclass(frozen=True)
class Clone:
    """A clone that works for the results branch `results` with the code of `branch`."""

    root: Path
    url: str
    branch: str
    results: str


@dataclass(frozen=True)
class Pushed:
    """Where results are: the commit, and the branch that leads to it."""

    commit: str
    branch: str


def check_url(url: str) -> None:
    """Refuse a URL that would carry a secret into settings, logs and the Prefect UI.

    Raises:
        RemoteError: it has a password, or a token would be sent unencrypted.
    """
    if not url or url.startswith("-"):
        raise RemoteError(
            "There is no git URL. Give the parameter `repository`, or set CRACKS_GIT_URL."
        )
    parts = urlsplit(url)
    is_web = parts.scheme in ("http", "https")
    if "@" in parts.netloc and (is_web or ":" in parts.netloc.rpartition("@")[0]):
        raise RemoteError(
            f"The git URL of {parts.hostname} has a user or a password in it. Take it out, and set "
            f"{TOKEN} (and {USER}) instead."
        )
    near = parts.hostname in ("127.0.0.1", "localhost", "::1")
    if os.environ.get(TOKEN) and parts.scheme == "http" and not near:
        raise RemoteError(
            f"The token in {TOKEN} would go to {parts.hostname} unencrypted. Give a URL "
            "that begins with https://."
        )


def clone_branch(clone: Clone, revision: str = "") -> None:
    """Clone `branch` to the new folder `root`, at its tip or at one of its commits.

    Raises:
        RemoteError: there is no such repository, branch or commit; RemoteUnavailable: for now.
    """
    where = Path.cwd()
    for name in (clone.branch, clone.results):
        if name.startswith("-") or run_git(where, "check-ref-format", "--branch", name).returncode:
            raise RemoteError(f"{name!r} is no name of a branch. Take a name as retrained/main.")
    if clone.results == clone.branch:
        raise RemoteError(
            f"Results would go to {clone.branch}, where the code comes from. Name another branch."
        )
    options = ["--quiet", "--single-branch", "--no-tags", "--branch", clone.branch]
    _request(clone, where, "clone", *options, "--", clone.url, str(clone.root))
    if revision:
        _go_to(clone, revision)


def _go_to(clone: Clone, revision: str) -> None:
    commit = f"{revision}^{{commit}}"
    found = run_git(clone.root, "rev-parse", "--verify", "--quiet", "--end-of-options", commit)
    if found.returncode or not _leads_to(clone, "HEAD", found.stdout.strip()):
        raise RemoteError(
            f"The branch {clone.branch} of {clone.url} has no commit {revision!r}. Name one of its "
            "commits, or none for its tip."
        )
    _git(clone.root, "checkout", "--quiet", "--detach", found.stdout.strip())


def take_up_results(clone: Clone) -> str:
    """Check out the results branch with the code that is checked out now.

    Where both branches have new commits, the code is that of `branch`, and the results are those of
    the results branch, unless others were committed to `branch` since.

    Returns:
        The commit that the code comes from.

    Raises:
        RemoteError: the results branch has changes to other files; RemoteUnavailable: for now.
    """
    root, base = clone.root, _git(clone.root, "rev-parse", "HEAD")
    tip = _fetch(clone, clone.results)
    fork = run_git(root, "merge-base", base, tip).stdout.strip() if tip else base
    foreign = _foreign(root, fork, tip) if fork and tip else []
    if not fork or foreign:
        raise RemoteError(
            f"The branch {clone.results} has changes of its own ({_some(foreign) or 'all of it'}), "
            f"which {short(base)} of {clone.branch} does not have, so it is unclear which code to "
            "run. Name another branch for the results, or merge it first."
        )
    _git(root, "checkout", "--quiet", "-B", clone.results, tip if tip and fork == base else base)
    if tip and fork not in (base, tip):
        _join(clone, base, fork, tip)
    return base


def _join(clone: Clone, base: str, fork: str, tip: str) -> None:
    root = clone.root
    if not _git(root, "diff", "--name-only", fork, base, "--", *RESULTS):
        names = _git(root, "ls-tree", "--name-only", tip, "--", *RESULTS).splitlines()
        _git(root, "checkout", "--quiet", tip, "--", *names)
    subject = f"Take over {short(base)} of {clone.branch}"
    _commit_tree(root, _git(root, "write-tree"), subject, tip, base)


def _commit_tree(root: Path, tree: str, message: str, *parents: str) -> None:
    """Commit a tree on the branch; the files stay as they are."""
    options = [part for parent in parents for part in ("-p", parent)]
    commit = _git(root, "commit-tree", tree, *options, "-m", message)
    _git(root, "reset", "--quiet", "--soft", commit)


def commit_results(clone: Clone, message: str) -> bool:
    """Commit dvc.lock and the reports; return whether there was anything new.

    Raises:
        RemoteError: other files that git keeps were changed.
    """
    root = clone.root
    changed = _git(root, "diff", "--name-only", "HEAD").splitlines()
    if others := [name for name in changed if not _is_result(name)]:
        raise RemoteError(
            f"{_some(others)} in {root} changed while the stages ran: what they leave in git are "
            f"{' and '.join(RESULTS)}. Let the stage write elsewhere (see .gitignore)."
        )
    _git(root, "add", "--all", "--", *(name for name in RESULTS if (root / name).exists()))
    if not _git(root, "diff", "--cached", "--name-only", "HEAD"):
        return False
    _git(root, "commit", "--quiet", "--no-verify", "-m", message)
    return True


def has_news(clone: Clone) -> bool:
    """Return whether there is anything to commit, or a commit that the server may not have."""
    changed = _git(clone.root, "status", "--porcelain", "--", *RESULTS)
    return bool(changed) or not _branch_with(clone, "HEAD")


def check_push(clone: Clone) -> None:
    """Ask the server whether the results branch may be pushed, before hours are spent.

    Raises:
        RemoteError: it may not; RemoteUnavailable: the server cannot be reached.
    """
    done = _push(clone, clone.results, "--dry-run")
    if done.returncode and not says(done, MOVED):
        raise _refusal(clone, done)


def push_results(clone: Clone, spare: str) -> Pushed:
    """Push what is committed; return where it is.

    Where another run's results came first, ours are committed on top of theirs. Where their
    commit has other code, ours go to the branch `spare`.

    Raises:
        RemoteError: the server refuses; RemoteUnavailable: for now, or others are always first.
    """
    branch = clone.results
    for attempt in range(ATTEMPTS):
        commit = _git(clone.root, "rev-parse", "HEAD")
        if known := _branch_with(clone, commit):
            return Pushed(commit, known)
        done = _push(clone, branch)
        if done.returncode == 0:
            _git(clone.root, "update-ref", _tracking_ref(branch), commit)
            return Pushed(commit, branch)
        if not says(done, MOVED):
            raise _refusal(clone, done)
        time.sleep(random.uniform(0.1, 0.5) * attempt)
        branch = _make_room(clone, branch, spare)
    raise RemoteUnavailable(
        f"The branch {branch} of {clone.url} was moved {ATTEMPTS} times while results were pushed. "
        "Run it again: the results are kept."
    )


def _make_room(clone: Clone, branch: str, spare: str) -> str:
    """Commit our results after those that came first; return the branch for them."""
    tip = _fetch(clone, branch)
    if not tip:
        return branch
    if _foreign(clone.root, "HEAD", tip):
        logger.warning("%s has other code now: the results go to %s", branch, spare)
        return spare
    if not _git(clone.root, "diff", "--name-only", "HEAD", tip):
        _git(clone.root, "reset", "--quiet", "--soft", tip)
        return branch
    logger.info("%s has moved: the results go on top", branch)
    tree = _git(clone.root, "rev-parse", "HEAD^{tree}")
    subject = _git(clone.root, "log", "-1", "--format=%s")
    _commit_tree(clone.root, tree, f"{subject} (beside {short(tip)})", tip, "HEAD")
    return branch


def _branch_with(clone: Clone, commit: str) -> str:
    """Return a branch that the server had with this commit at the last fetch, or nothing."""
    options = ("--contains", commit, f"--format=%(refname:lstrip={_tracking_ref('').count('/')})")
    known = _git(clone.root, "for-each-ref", *options, _tracking_ref("")).splitlines()
    return clone.results if clone.results in known else (known or [""])[0]


def _tracking_ref(branch: str) -> str:
    """Return the remote-tracking ref of a branch."""
    return f"refs/remotes/origin/{branch}"


def _leads_to(clone: Clone, name: str, commit: str) -> bool:
    return run_git(clone.root, "merge-base", "--is-ancestor", commit, name).returncode == 0


def _push(clone: Clone, branch: str, *options: str) -> subprocess.CompletedProcess[str]:
    target = f"HEAD:refs/heads/{branch}"
    return run_git(clone.root, "push", "--porcelain", *options, "origin", target, url=clone.url)


def _fetch(clone: Clone, branch: str) -> str:
    """Return the commit that a branch of the server leads to; empty if there is none."""
    if not _request(clone, clone.root, "ls-remote", "--heads", "origin", f"refs/heads/{branch}"):
        return ""
    refs = f"+refs/heads/{branch}:{_tracking_ref(branch)}"
    _request(clone, clone.root, "fetch", "--quiet", "--no-tags", "origin", refs)
    return _git(clone.root, "rev-parse", _tracking_ref(branch))


def _foreign(root: Path, first: str, second: str) -> list[str]:
    """Return the files that differ between two commits and are no results."""
    names = _git(root, "diff", "--name-only", first, second).splitlines()
    return [name for name in names if not _is_result(name)]


def _is_result(name: str) -> bool:
    return name.split("/")[0] in RESULTS


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def short(commit: str) -> str:
    """Return the abbreviated hash of a commit."""
    return commit[:12]


# --- running git ----------------------------------------------------------------------------------


def _git(root: Path, *arguments: str) -> str:
    """Run git in a clone; return what it prints.

    Raises:
        RemoteError: it fails, as the clone is damaged.
    """
    done = run_git(root, *arguments)
    if done.returncode:
        raise RemoteError(
            f"git {arguments[0]} failed in {root}: {reason_of(done)}. Remove that folder and run "
            "it again: it is cloned again."
        )
    return done.stdout.strip()


def _request(clone: Clone, place: Path, *arguments: str) -> str:
    """Run a git command that speaks with the server; return what it prints."""
    done = run_git(place, *arguments, url=clone.url)
    if done.returncode:
        raise _refusal(clone, done)
    return done.stdout.strip()


def _refusal(clone: Clone, done: subprocess.CompletedProcess[str]) -> RemoteError:
    """Return the error for a server's response."""
    said = f"{clone.url}: git says {reason_of(done)}."
    if says(done, DENIED):
        return RemoteError(
            f"{said} Give this machine the right to read {clone.branch} and to push "
            f"{clone.results}: {TOKEN} for https, or a key for ssh."
        )
    if says(done, NOT_NOW):
        return RemoteUnavailable(f"{said} Check the URL and whether the server runs.")
    if "Remote branch" in done.stderr:
        return RemoteError(f"{clone.url} has no branch {clone.branch!r}. Name one that it has.")
    return RemoteError(f"{said} Check the URL (`repository`, or CRACKS_GIT_URL).")
