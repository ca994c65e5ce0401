"""Results in git: whoever pushes them, and when, nothing of anybody's is lost."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from processes import git

from cracks.errors import RemoteError, RemoteUnavailable
from cracks.versioning.git_results import (
    TOKEN,
    Clone,
    Pushed,
    check_push,
    check_url,
    clone_branch,
    commit_results,
    has_news,
    push_results,
    take_up_results,
)
from tests.unit.builders import write_files

RESULTS = "retrained/main"

CODE = {"params.yaml": b"epochs: 1\n", "cracks/metric.py": b"one", ".gitignore": b"/data\n"}


class Server:
    """A bare repository, and what somebody at a desk pushes to it."""

    def __init__(self, place: Path) -> None:
        self.place, self.desk = place / "project.git", place / "desk"
        self.url = f"file://{self.place}"
        self.git("init", "-q", "--bare", "-b", "main", str(self.place), at=place)
        self.git("clone", "-q", self.url, str(self.desk), at=place)
        self.push("main", CODE)

    def git(self, *arguments: str, at: Path | None = None) -> str:
        return git(at or self.place, *arguments)

    def push(self, branch: str, files: dict[str, bytes]) -> str:
        """Commit files on a branch; return the commit."""
        known = branch in self.branches()
        if known:
            self.git("fetch", "-q", at=self.desk)
        start = [f"origin/{branch}"] if known else []
        self.git("checkout", "-q", "-B", branch, *start, at=self.desk)
        write_files(self.desk, files)
        self.git("add", "-A", at=self.desk)
        self.git("commit", "-qm", "By hand", at=self.desk)
        self.git("push", "-q", "origin", branch, at=self.desk)
        return self.git("rev-parse", "HEAD", at=self.desk)

    def branches(self) -> list[str]:
        return self.git("for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads").splitlines()

    def show(self, revision: str, name: str) -> str:
        return self.git("show", f"{revision}:{name}")

    def history(self, branch: str) -> list[str]:
        return self.git("rev-list", branch).splitlines()

    def subjects(self, branch: str) -> list[str]:
        return self.git("log", "--format=%s", branch).splitlines()


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


Begin = Callable[..., Clone]


@pytest.fixture
def begin(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Begin:
    """Return what makes the clone of a worker, ready to train."""
    # The machine has no settings of git at all.
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")

    def make(name: str, revision: str = "") -> Clone:
        clone = Clone(tmp_path / name, server.url, "main", RESULTS)
        clone_branch(clone, revision)
        take_up_results(clone)
        return clone

    return make


def train(clone: Clone, lock: str) -> None:
    write_files(clone.root, {"dvc.lock": lock.encode(), "reports/evaluate.json": lock.encode()})
    write_files(clone.root, {"data/images": b"not for git"})
    assert commit_results(clone, f"Retrain: {lock}")


def trained(clone: Clone, lock: str) -> Pushed:
    train(clone, lock)
    return push_results(clone, f"{RESULTS}-spare")


def read(clone: Clone, name: str) -> str:
    return (clone.root / name).read_text()


def test_the_next_run_starts_from_the_results_of_the_last(server: Server, begin: Begin) -> None:
    first = trained(begin("first"), "one")
    assert server.git("ls-tree", "-r", "--name-only", RESULTS).splitlines() == [
        ".gitignore",
        "cracks/metric.py",
        "dvc.lock",
        "params.yaml",
        "reports/evaluate.json",
    ]
    second = begin("second")
    assert read(second, "dvc.lock") == "one"
    assert not has_news(second)
    assert not commit_results(second, "Nothing")
    assert push_results(second, "spare") == first


def test_new_code_meets_the_results_so_far(server: Server, begin: Begin) -> None:
    first = trained(begin("first"), "one")
    code = server.push("main", {"cracks/metric.py": b"two"})
    clone = begin("second")
    assert (read(clone, "dvc.lock"), read(clone, "cracks/metric.py")) == ("one", "two")
    pushed = trained(clone, "two")
    assert {first.commit, code} <= set(server.history(RESULTS))
    assert server.show(pushed.commit, "cracks/metric.py") == "two"


def test_results_that_a_person_committed_to_the_code_are_the_newer_ones(
    server: Server, begin: Begin
) -> None:
    trained(begin("first"), "one")
    server.push("main", {"dvc.lock": b"by hand"})
    assert read(begin("second"), "dvc.lock") == "by hand"


def test_results_that_were_merged_into_the_code_are_gone_on_from(
    server: Server, begin: Begin
) -> None:
    trained(begin("first"), "one")
    server.git("fetch", "-q", at=server.desk)
    server.git("checkout", "-q", "-B", "main", f"origin/{RESULTS}", at=server.desk)
    server.git("push", "-q", "origin", "main", at=server.desk)
    server.push("main", {"cracks/metric.py": b"two"})
    clone = begin("second")
    assert read(clone, "dvc.lock") == "one"
    assert server.subjects("main")[0] == "By hand"
    assert trained(clone, "two").branch == RESULTS


def test_an_older_commit_of_the_branch_can_be_trained(server: Server, begin: Begin) -> None:
    first = server.git("rev-parse", "main")
    server.push("main", {"cracks/metric.py": b"two"})
    assert read(begin("older", first), "cracks/metric.py") == "one"
    with pytest.raises(RemoteError, match="has no commit 'nonsense'"):
        begin("none", "nonsense")


# --- somebody else was first ----------------------------------------------------------------------


def test_whoever_comes_second_puts_the_results_on_top(server: Server, begin: Begin) -> None:
    clones = [begin("first"), begin("second")]
    pushed = [trained(clone, clone.root.name) for clone in clones]
    assert {one.branch for one in pushed} == {RESULTS}
    for one, clone in zip(pushed, clones, strict=True):
        assert one.commit in server.history(RESULTS)
        # What was registered is exactly what was trained.
        assert server.show(one.commit, "dvc.lock") == clone.root.name
        assert not has_news(clone)
        assert server.git("status", "--porcelain", at=clone.root) == ""
    assert server.show(RESULTS, "dvc.lock") == "second"


def test_equal_results_are_one_commit(server: Server, begin: Begin) -> None:
    clones = [begin("first"), begin("second")]
    first, second = (trained(clone, "equal") for clone in clones)
    assert first == second
    assert len(server.history(RESULTS)) == 2


def test_many_at_once_all_end_in_the_history(server: Server, begin: Begin) -> None:
    clones = [begin(f"worker-{number}") for number in range(4)]
    for clone in clones:
        train(clone, clone.root.name)
    with ThreadPoolExecutor(len(clones)) as pool:
        pushed = list(pool.map(lambda clone: push_results(clone, "spare"), clones))
    assert {one.commit for one in pushed} <= set(server.history(RESULTS))
    assert {server.show(one.commit, "dvc.lock") for one in pushed} == {
        clone.root.name for clone in clones
    }
    assert server.branches() == ["main", RESULTS]
    server.git("fsck", "--strict")


def test_results_do_not_go_on_top_of_other_code(server: Server, begin: Begin) -> None:
    late = begin("late")
    server.push("main", {"cracks/metric.py": b"two"})
    theirs = trained(begin("early"), "of two")
    ours = trained(late, "of one")
    assert ours.branch == f"{RESULTS}-spare"
    assert server.show(ours.commit, "cracks/metric.py") == "one"
    assert server.git("rev-parse", RESULTS) == theirs.commit


# --- refusals -------------------------------------------------------------------------------------


def one_line(refusal: pytest.ExceptionInfo[RemoteError]) -> str:
    message = str(refusal.value)
    assert "\n" not in message
    return message


def test_a_results_branch_with_code_of_its_own_is_refused(server: Server, begin: Begin) -> None:
    server.git("checkout", "-q", "main", at=server.desk)
    server.push(RESULTS, {"cracks/metric.py": b"changed there"})
    with pytest.raises(RemoteError) as refusal:
        begin("worker")
    assert "changes of its own (cracks/metric.py)" in one_line(refusal)
    assert "Name another branch for the results, or merge it first." in one_line(refusal)


def test_a_stage_that_changes_code_is_refused_before_it_is_pushed(
    server: Server, begin: Begin
) -> None:
    clone = begin("worker")
    write_files(clone.root, {"params.yaml": b"epochs: 2\n", "dvc.lock": b"one"})
    with pytest.raises(RemoteError) as refusal:
        commit_results(clone, "Retrain")
    assert one_line(refusal).startswith("params.yaml in ")
    assert server.branches() == ["main"]


def test_a_server_that_declines_says_why_in_one_line(server: Server, begin: Begin) -> None:
    hook = server.place / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho 'main is frozen for the release' >&2; exit 1\n")
    hook.chmod(0o755)
    clone = begin("worker")
    with pytest.raises(RemoteError) as refusal:
        trained(clone, "one")
    assert "pre-receive hook declined" in one_line(refusal)
    assert "right to read main and to push retrained/main" in one_line(refusal)
    # What was committed is not lost: the same again, and it is there.
    hook.unlink()
    assert has_news(clone)
    assert push_results(clone, "spare").commit in server.history(RESULTS)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"url": "file:///nowhere/project.git"}, "Check the URL"),
        ({"branch": "mian"}, "has no branch 'mian'. Name one that it has."),
        ({"results": "main"}, "Results would go to main"),
        ({"results": "re trained"}, "is no name of a branch"),
        ({"results": "--force"}, "is no name of a branch"),
    ],
)
def test_what_cannot_be_cloned_is_refused_in_one_line(
    server: Server, tmp_path: Path, changes: dict[str, str], says: str
) -> None:
    clone = replace(Clone(tmp_path / "worker", server.url, "main", RESULTS), **changes)
    with pytest.raises(RemoteError) as refusal:
        clone_branch(clone)
    assert says in one_line(refusal)
    assert not isinstance(refusal.value, RemoteUnavailable)


def test_a_server_that_is_away_is_tried_again(tmp_path: Path) -> None:
    clone = Clone(tmp_path / "worker", "http://127.0.0.1:9/project.git", "main", RESULTS)
    with pytest.raises(RemoteUnavailable, match="Check the URL and whether the server runs"):
        clone_branch(clone)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "set CRACKS_GIT_URL"),
        ("--upload-pack=touch /tmp/x", "set CRACKS_GIT_URL"),
        ("https://ann:hunter2@git.example.org/p.git", f"set {TOKEN}"),
        ("https://ghp_abc@git.example.org/p.git", f"set {TOKEN}"),
        ("http://git.example.org/p.git", "begins with https://"),
    ],
)
def test_a_url_that_would_tell_a_secret_is_refused(
    url: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN, "a token")
    with pytest.raises(RemoteError) as refusal:
        check_url(url)
    assert says in one_line(refusal)
    assert "hunter2" not in one_line(refusal)
    assert "ghp_abc" not in one_line(refusal)


@pytest.mark.parametrize(
    "url",
    ["https://git.example.org/p.git", "ssh://git@example.org/p.git", "git@example.org:p.git"],
)
def test_other_urls_are_taken(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN, "a token")
    check_url(url)


def test_the_right_to_push_is_asked_for_before_anything_is_pushed(
    server: Server, begin: Begin
) -> None:
    clone = begin("worker")
    check_push(clone)
    assert server.branches() == ["main"]
    with pytest.raises(RemoteError):
        check_push(replace(clone, results="not..a name"))
