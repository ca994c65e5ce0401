"""The registry as a control, on real photographs: from the first champion to its restoration."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from e2e.conftest import Workspace, shared_file
from processes import TOOLS, StartProcess

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

WEIGHTS = "weights/mobilenet_v2_1.0_224_no_top_from_ptq.weights.h5"

#: A training that goes well, one that learns nothing, and one that differs from the first by seed.
GOOD = ["train.epochs=30", "train.learning_rate=0.01", "train.seed=7"]
WORSE = ["train.epochs=1", "train.learning_rate=0.000001", "train.seed=7"]
SIMILAR = ["train.epochs=30", "train.learning_rate=0.01", "train.seed=8"]


@pytest.fixture(scope="module")
def photographs() -> Path:
    return shared_file("data/metu-2k.zip")


@pytest.fixture(scope="module")
def workspace(make_workspace: Callable[[], Workspace], photographs: Path) -> Workspace:
    """A workspace with real photographs; what DVC has done once is not done again."""
    made = make_workspace()
    made.configure(
        f"ingest.source={photographs}",
        "featurize.architecture=mobilenetv2",
        f"featurize.weights={shared_file(WEIGHTS)}",
        "featurize.image_size=160",
    )
    return made


@pytest.fixture(params=["sqlite", "postgresql"])
def site(
    request: pytest.FixtureRequest,
    workspace: Workspace,
    mlflow_servers: Callable[[str], str],
    tmp_path: Path,
) -> Workspace:
    """The workspace with a registry and a service folder of its own."""
    variables = {
        "MLFLOW_TRACKING_URI": mlflow_servers(request.param),
        "CRACKS_SERVICE_DIR": str(tmp_path / "service"),
    }
    return replace(workspace, variables={**workspace.variables, **variables})


@contextmanager
def serving(start: StartProcess, site: Workspace) -> Iterator[httpx.Client]:
    process = start(
        [TOOLS / "cracks", "-C", site.root, "serve", "--port", "0", "--json"],
        variables=dict(site.variables),
        name="cracks serve",
    )
    url = json.loads(process.wait_until(lambda: process.stdout, "the address"))["url"]
    with httpx.Client(base_url=url, timeout=20) as client:
        process.wait_until(lambda: client.get("/ready").status_code == 200, "the champion")
        yield client


def read(photographs: Path, label: str) -> bytes:
    with zipfile.ZipFile(photographs) as archive:
        names = sorted(n for n in archive.namelist() if f"{label}/" in n and n.endswith(".jpg"))
        return archive.read(names[0])


def said(site: Workspace, *arguments: object) -> Any:
    done = site.cracks(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_model_is_judged_promoted_taken_back_traced_and_restored(
    site: Workspace, photographs: Path, start: StartProcess, tmp_path: Path
) -> None:
    first = site.trained(*GOOD)
    assert (first["verdict"], first["version"], first["promoted"]) == ("first", "1", True)

    worse = site.trained(*WORSE)
    assert (worse["verdict"], worse["action"], worse["version"]) == ("worse", "refuse", None)
    assert any("accuracy" in reason for reason in worse["reasons"])

    # 300 patches of test are too few to prove that nothing was lost: a person decides.
    similar = site.trained(*SIMILAR)
    assert (similar["verdict"], similar["action"]) == ("undecided", "ask")
    assert (similar["version"], similar["promoted"]) == ("2", False)

    with serving(start, site) as client:
        assert client.get("/model").json()["model_version"] == "1"
        promoted = said(site, "promote", "2", "--why", "looked at every mistake")
        assert (promoted["previous"], len(promoted["processes"])) == ("1", 1)
        assert client.get("/model").json()["model_version"] == "2"
        rolled_back = said(site, "rollback", "--why", "misses hairlines")
        assert (rolled_back["version"], rolled_back["previous"]) == ("1", "2")
        answer = client.post(
            "/predict", files=[("files", ("a.jpg", read(photographs, "Positive")))]
        ).json()["predictions"][0]
    assert answer["model_version"] == "1"

    history = said(site, "models", "--history")
    assert [(one["kind"], one["from_version"], one["to_version"]) for one in history] == [
        ("promote", None, "1"),
        ("promote", "1", "2"),
        ("rollback", "2", "1"),
    ]
    assert site.cracks("models", "--verify").returncode == 0

    traced = site.cracks("trace", answer["prediction_id"])
    assert traced.returncode == 0, traced.stderr
    for found in (first["run_id"], site.git("rev-parse", "HEAD").strip(), "Positive/"):
        assert found in traced.stdout
    restored = site.cracks("restore", "1", tmp_path / "restored")
    assert restored.returncode == 0, restored.stdout + restored.stderr
    again = json.loads((tmp_path / "restored/reports/evaluate.json").read_text())["test"]
    assert again == {**again, **first["metrics"]}
