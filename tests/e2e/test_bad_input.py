"""Bad input gives one clear line and exit code 1, and changes nothing that was there."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from cracks.images.synthetic_concrete import draw_sample
from cracks.inference.handover.training_summaries import FILE as RUNS
from cracks.workspace.params_file import set_params
from tests.e2e.conftest import Workspace

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def workspace(make_workspace: Callable[[], Workspace]) -> Workspace:
    """A workspace in which a small sample has been ingested, so that there is something to lose."""
    made = make_workspace()
    set_params(made.root / "params.yaml", ["ingest.source=sample", "ingest.sample.patches=40"])
    assert made.dvc("repro", "--single-item", "ingest").returncode == 0
    return made


def _zip(path: Path, names: list[str]) -> Path:
    photographs = [content for _, content in draw_sample(4, seed=1)]
    with zipfile.ZipFile(path, "w") as archive:
        for i, name in enumerate(names):
            archive.writestr(name, photographs[i % 4])
    return path


def _cut_zip(folder: Path) -> Path:
    path = _zip(folder / "cut.zip", ["Positive/1.jpg", "Negative/2.jpg"])
    path.write_bytes(path.read_bytes()[:-300])
    return path


def _cut_tar(folder: Path) -> Path:
    path = folder / "cut.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in draw_sample(8, seed=1):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def _one_label(folder: Path) -> Path:
    (folder / "one/Positive").mkdir(parents=True)
    (folder / "one/Positive/1.jpg").write_bytes(next(draw_sample(2, seed=1))[1])
    return folder / "one"


SOURCES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a source that does not exist": (lambda folder: folder / "nowhere", "there is no"),
    "a zip that was cut short": (_cut_zip, "damaged or cut short"),
    "a tar that was cut short": (_cut_tar, "damaged or cut short"),
    "a member that climbs out": (
        lambda folder: _zip(folder / "up.zip", ["Positive/1.jpg", "Negative/../../2.jpg"]),
        "points outside",
    ),
    "a member with an absolute path": (
        lambda folder: _zip(folder / "abs.zip", ["Positive/1.jpg", "/tmp/Negative/2.jpg"]),
        "points outside",
    ),
    "one label only": (_one_label, "holds no photograph of `no crack`"),
}


@pytest.mark.parametrize("case", SOURCES)
def test_a_source_that_cannot_be_used_is_refused_in_one_line(
    workspace: Workspace, tmp_path: Path, case: str
) -> None:
    make, reason = SOURCES[case]
    source = make(tmp_path)
    before = workspace.files()
    done = workspace.cracks("train", "-S", f"ingest.source={source}")
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert reason in errors[0]
    assert str(source) in errors[0]
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    after = workspace.files()
    # -S writes params.yaml by request, and the page /pipeline tells of the refusal; that is all.
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert changed <= {"params.yaml", f"service/{RUNS}", f"service/.{RUNS}.lock"}


def test_a_bad_key_is_refused_by_name_and_not_written(workspace: Workspace) -> None:
    before = (workspace.root / "params.yaml").read_bytes()
    done = workspace.cracks("train", "-S", "train.epoch=3")
    assert done.returncode == 1
    assert "unknown key train.epoch. Did you mean train.epochs?" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert (workspace.root / "params.yaml").read_bytes() == before


def test_a_folder_that_is_no_workspace_is_refused(tmp_path: Path, workspace: Workspace) -> None:
    done = workspace.cracks("-C", tmp_path, "train")
    assert done.returncode == 1
    assert "is no workspace" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_wrong_usage_is_exit_code_2(workspace: Workspace) -> None:
    assert workspace.cracks("predict").returncode == 2
    assert workspace.cracks("no-such-verb").returncode == 2


@pytest.mark.parametrize("verb", ["train", "predict", "serve", "models"])
def test_every_verb_explains_itself(workspace: Workspace, verb: str) -> None:
    done = workspace.cracks(verb, "--help")
    assert done.returncode == 0
    assert "--json" in done.stdout


def test_data_that_breaks_an_expectation_stops_the_run_with_a_table(
    make_workspace: Callable[[], Workspace], tmp_path: Path
) -> None:
    other = make_workspace()
    for name, content in draw_sample(240, seed=3):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (tmp_path / "photos/Positive/00007.jpg").write_bytes(
        (tmp_path / "photos/Negative/00009.jpg").read_bytes()
    )
    done = other.cracks("train", "-S", f"ingest.source={tmp_path / 'photos'}")
    assert done.returncode == 1
    assert "no copy under both labels" in done.stderr
    assert "Positive/00007.jpg" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: validate: broken: ")
    assert not (other.root / "models").exists()
    assert (other.root / "reports/data_docs/index.html").is_file()
