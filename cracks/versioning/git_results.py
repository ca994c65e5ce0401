"""Git with a URL only: clone, check out earlier results, commit new ones, push them.

Code comes from one branch. Results (`RESULTS`) go to another, which holds that code and nothing
else of its own, and which is never forced: everything that was pushed stays in its history.
"""

from __future__ import annotations

import base64
import logging
import os
import random
import re
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cracks.errors import RemoteError, RemoteUnavailable

logger = logging.getLogger(__name__)

#: What a training leaves in git.
RESULTS = ("dvc.lock", "reports")

#: Variables of the environment: a token for https, and the user that it belongs to.
TOKEN, USER = "CRACKS_GIT_TOKEN", "CRACKS_GIT_USER"

#: How often a push of results is retried because another one was first.
ATTEMPTS = 6

#: In git's message about a push: another one was first.
MOVED = ("[rejected]", "cannot lock ref", "failed to update ref", "incorrect old value")

#: In git's message about a server: credentials without access.
DENIED = (
    "Authentication failed",
    "could not read Username",
    "could not read Password",
    "ermission denied",
    "insufficient permission",
    "unable to create temporary",
    "hook declined",
    "protected branch",
    "not authorized",
    "access denied",
    "error: 401",
    "error: 403",
)

#: In git's message about a server: a transient error.
NOT_NOW = (
    "resolve host",
    "refused",
    "timed out",
    "Failed to connect",
    "Connection reset",
    "Empty reply",
    "hung up",
    "early EOF",
    "too slow",
    "error: 429",
    "error: 5",
)


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
        if name.startswith("-") or _run(where, "check-ref-format", "--branch", name).returncode:
            raise RemoteError(f"{name!r} is no name of a branch. Take a name as retrained/main.")
    if clone.results == clone.branch:
        raise RemoteError(
            f"Results would go to {clone.branch}, where the code comes from. Name another branch."
        )
    options = ["--quiet", "--single-branch", "--no-tags", "--branch", clone.branch]
    _ask(clone, where, "clone", *options, "--", clone.url, str(clone.root))
    if revision:
        _go_to(clone, revision)


def _go_to(clone: Clone, revision: str) -> None:
    commit = f"{revision}^{{commit}}"
    found = _run(clone.root, "rev-parse", "--verify", "--quiet", "--end-of-options", commit)
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
    fork = _run(root, "merge-base", base, tip).stdout.strip() if tip else base
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
    if done.returncode and not _says(done, MOVED):
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
        if not _says(done, MOVED):
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
    return _run(clone.root, "merge-base", "--is-ancestor", commit, name).returncode == 0


def _push(clone: Clone, branch: str, *options: str) -> subprocess.CompletedProcess[str]:
    target = f"HEAD:refs/heads/{branch}"
    return _run(clone.root, "push", "--porcelain", *options, "origin", target, url=clone.url)


def _fetch(clone: Clone, branch: str) -> str:
    """Return the commit that a branch of the server leads to; empty if there is none."""
    if not _ask(clone, clone.root, "ls-remote", "--heads", "origin", f"refs/heads/{branch}"):
        return ""
    refs = f"+refs/heads/{branch}:{_tracking_ref(branch)}"
    _ask(clone, clone.root, "fetch", "--quiet", "--no-tags", "origin", refs)
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
    done = _run(root, *arguments)
    if done.returncode:
        raise RemoteError(
            f"git {arguments[0]} failed in {root}: {_reason(done)}. Remove that folder and run it "
            "again: it is cloned again."
        )
    return done.stdout.strip()


def _ask(clone: Clone, place: Path, *arguments: str) -> str:
    """Run a git command that speaks with the server; return what it prints."""
    done = _run(place, *arguments, url=clone.url)
    if done.returncode:
        raise _refusal(clone, done)
    return done.stdout.strip()


def _run(place: Path, *arguments: str, url: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["git", *arguments],
        cwd=place,
        env={**os.environ, **_variables(url)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


def _variables(url: str) -> Mapping[str, str]:
    """Return how git is to behave: no prompts, and messages in English."""
    who = {"NAME": "cracks", "EMAIL": "cracks@localhost"}
    return {
        "LC_ALL": "C",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_SSH_COMMAND": os.environ.get("GIT_SSH_COMMAND", "ssh -o BatchMode=yes"),
        **{
            f"GIT_{role}_{key}": os.environ.get(f"GIT_{role}_{key}", value)
            for role in ("AUTHOR", "COMMITTER")
            for key, value in who.items()
        },
        **_settings(url),
    }


def _settings(url: str) -> Mapping[str, str]:
    """Return settings of git as variables, so that no command line and no file holds the token."""
    settings = {"http.lowSpeedLimit": "100", "http.lowSpeedTime": "60", "gc.auto": "0"}
    token, parts = os.environ.get(TOKEN), urlsplit(url)
    if token and parts.scheme in ("http", "https"):
        pair = f"{os.environ.get(USER) or 'x-access-token'}:{token}".encode()
        header = f"Authorization: Basic {base64.b64encode(pair).decode()}"
        settings[f"http.{parts.scheme}://{parts.netloc}/.extraHeader"] = header
    given = int(os.environ.get("GIT_CONFIG_COUNT", "0"))
    numbered = list(enumerate(settings.items(), given))
    return {
        "GIT_CONFIG_COUNT": str(given + len(settings)),
        **{f"GIT_CONFIG_KEY_{number}": key for number, (key, _) in numbered},
        **{f"GIT_CONFIG_VALUE_{number}": value for number, (_, value) in numbered},
    }


def _says(done: subprocess.CompletedProcess[str], signs: tuple[str, ...]) -> bool:
    return any(sign in done.stderr + done.stdout for sign in signs)


def _refusal(clone: Clone, done: subprocess.CompletedProcess[str]) -> RemoteError:
    """Return the error for a server's response."""
    said = f"{clone.url}: git says {_reason(done)}."
    if _says(done, DENIED):
        return RemoteError(
            f"{said} Give this machine the right to read {clone.branch} and to push "
            f"{clone.results}: {TOKEN} for https, or a key for ssh."
        )
    if _says(done, NOT_NOW):
        return RemoteUnavailable(f"{said} Check the URL and whether the server runs.")
    if "Remote branch" in done.stderr:
        return RemoteError(f"{clone.url} has no branch {clone.branch!r}. Name one that it has.")
    return RemoteError(f"{said} Check the URL (`repository`, or CRACKS_GIT_URL).")


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    """Return the line of git's output that names the cause, without secrets."""
    lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    signs = (*DENIED, *NOT_NOW, "fatal: ", "error: ", "!")
    told = [line for sign in signs for line in lines if sign in line]
    reason = (told or lines or [f"exit code {done.returncode}"])[0]
    reason = re.sub(r"^(remote: )?(fatal|error): ", "", reason).rstrip(".")
    return re.sub(r"//[^/@\s]+@", "//", reason)
