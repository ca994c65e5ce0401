"""Data that stays in DVC's remote until a stage must run that reads it (real DVC, small stages)."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from processes import CHECKOUT, environment, git

from cracks.errors import RemoteError, RemoteUnavailable
from cracks.versioning.dvc_data import (
    absent_inputs,
    default_remote,
    pull_data,
    push_data,
    use_remote,
)
from cracks.versioning.dvc_stages import run_stage, stage_is_up_to_date
from cracks.workspace.paths import Paths
from tests.unit.builders import write_files

PIPELINE = b"""
stages:
  draw:
    cmd: python write.py data/images number.txt
    deps: [number.txt]
    outs:
      - data/images: {persist: true}
      - data/table
  learn:
    cmd: python write.py models/net data/images/one params.yaml
    deps: [data/images]
    params: [epochs]
    outs: [models/net]
    metrics:
      - reports/learn.json: {cache: false}
  judge:
    cmd: python write.py models/verdict models/net/one
    deps: [models/net, data/table]
    outs: [models/verdict]
"""

WRITE = b"""
import pathlib, sys
folder = pathlib.Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
text = " ".join(pathlib.Path(name).read_text().strip() for name in sys.argv[2:])
(folder / "one").write_text(text)
if "images" in sys.argv[1]:
    pathlib.Path("data/table").write_text("always the same")
if "net" in sys.argv[1]:
    pathlib.Path("reports").mkdir(exist_ok=True)
    pathlib.Path("reports/learn.json").write_text("{}")
"""

STAGES = ("draw", "learn", "judge")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose stages have run and whose data is in its remote, a folder beside it."""
    place = tmp_path_factory.mktemp("lazy")
    paths = Paths(place / "trained")
    write_files(
        paths.root,
        {
            "dvc.yaml": PIPELINE,
            "write.py": WRITE,
            "params.yaml": b"epochs: 1\n",
            "number.txt": b"seven\n",
            ".gitignore": b"/data\n/models\n",
            ".dvc/config": (CHECKOUT / ".dvc/config").read_bytes(),
            ".dvc/.gitignore": (CHECKOUT / ".dvc/.gitignore").read_bytes(),
        },
    )
    git(paths.root, "init", "-q")
    repro = [sys.executable, "-m", "dvc", "repro", "--quiet"]
    subprocess.run(repro, cwd=paths.root, env=environment(), check=True)
    use_remote(paths, str(place / "remote"))
    push_data(paths)
    return paths.root


@pytest.fixture
def elsewhere(trained: Path, tmp_path: Path) -> Paths:
    """The same on another machine: what git has, and the address of the remote."""
    left_out = shutil.ignore_patterns("data", "models", "cache", "tmp", "storage")
    paths = Paths(shutil.copytree(trained, tmp_path / "elsewhere", ignore=left_out))
    shutil.copytree(trained.parent / "remote", tmp_path / "remote")
    use_remote(paths, str(tmp_path / "remote"))
    return paths


def outdated(paths: Paths) -> list[str]:
    return [one for one in STAGES if not stage_is_up_to_date(paths, one, absent_is_unchanged=True)]


def test_where_nothing_changed_nothing_is_brought(elsewhere: Paths) -> None:
    assert outdated(elsewhere) == []
    assert not stage_is_up_to_date(elsewhere, "draw"), "at a desk, data that is lost is made anew"
    assert not (elsewhere.root / "data").exists()


def test_a_stage_that_must_run_brings_what_it_reads_and_no_more(elsewhere: Paths) -> None:
    elsewhere.params.write_text("epochs: 2\n")
    assert outdated(elsewhere) == ["learn"]
    assert absent_inputs(elsewhere, "learn") == ["data/images"]
    pull_data(elsewhere, absent_inputs(elsewhere, "learn"))
    assert not (elsewhere.root / "data/table").exists()
    run_stage(elsewhere, "learn")
    # What it has made is here now, and differs from what the next stage has read.
    assert outdated(elsewhere) == ["judge"]
    assert absent_inputs(elsewhere, "judge") == ["data/table"]
    pull_data(elsewhere, ["data/table"])
    run_stage(elsewhere, "judge")
    assert outdated(elsewhere) == []
    push_data(elsewhere)


def test_a_stage_that_goes_on_with_its_own_output_brings_that(elsewhere: Paths) -> None:
    (elsewhere.root / "number.txt").write_text("eight\n")
    assert outdated(elsewhere) == ["draw"]
    assert absent_inputs(elsewhere, "draw") == ["data/images"]


def test_a_remote_that_lacks_what_nobody_brought_is_told_of(elsewhere: Paths) -> None:
    remote = Path(default_remote(elsewhere)[0])
    shutil.rmtree(remote / "files")
    for act in (lambda: push_data(elsewhere), lambda: pull_data(elsewhere, ["data/table"])):
        with pytest.raises(RemoteError, match=r"lacks .*data/table") as refusal:
            act()
        assert "\n" not in str(refusal.value)


@pytest.mark.slow
def test_a_storage_that_is_away_is_tried_again_and_one_without_credentials_is_not(
    elsewhere: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_remote(elsewhere, "s3://bucket/dvc")
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "HOME": str(elsewhere.root),
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "PROFILE", "CONFIG_FILE"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    with pytest.raises(RemoteError, match=r"AWS_\* credentials") as refusal:
        pull_data(elsewhere, ["data/table"])
    assert not isinstance(refusal.value, RemoteUnavailable)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "unknown")
    with pytest.raises(RemoteUnavailable, match="Run it again in a while"):
        pull_data(elsewhere, ["data/table"])
