"""Serving needs its own few packages only: it runs where nothing of the pipeline is installed."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from processes import CHECKOUT, TOOLS, StartProcess, environment

from .bundles import grey_image, hand_over, make_bundle

pytestmark = pytest.mark.integration

PIPELINE_ONLY = {
    "boto3",
    "dvc",
    "great-expectations",
    "keras",
    "matplotlib",
    "mlflow",
    "mlflow-skinny",
    "opencv-python-headless",
    "pandas",
    "prefect",
    "scikit-learn",
    "sqlalchemy",
    "tensorboard",
    "tensorflow",
}

LIST_PACKAGES = """
import json
from importlib.metadata import distributions
print(json.dumps([one.name.lower().replace("_", "-") for one in distributions()]))
"""


@dataclass(frozen=True)
class ServingEnvironment:
    python: Path
    seconds: float  # that installing took

    @property
    def packages(self) -> set[str]:
        command = [str(self.python), "-c", LIST_PACKAGES]
        listed = subprocess.run(command, env=environment(), check=True, capture_output=True)
        return set(json.loads(listed.stdout))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> ServingEnvironment:
    """A new environment with what uv.lock says of the dependencies and the group `serving`."""
    place = tmp_path_factory.mktemp("serving") / "venv"
    command = f"sync --project {CHECKOUT} --frozen --no-default-groups --group serving"
    start = time.monotonic()
    done = subprocess.run(
        [TOOLS / "uv", *command.split(), "--no-install-project", "--no-progress"],
        env=environment(UV_PROJECT_ENVIRONMENT=str(place)),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return ServingEnvironment(place / "bin/python", time.monotonic() - start)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("workspace")
    (root / ".dvc").mkdir()
    (root / "dvc.yaml").touch()
    hand_over(root / "service", make_bundle(root / "bundle"), "1")
    return root


@pytest.fixture
def service(
    start: StartProcess, installed: ServingEnvironment, workspace: Path
) -> Iterator[httpx.Client]:
    program = "import commands; commands.main()"
    process = start(
        [installed.python, "-c", program, "-C", workspace, "serve", "--port", "0", "--json"],
        variables={"PYTHONDONTWRITEBYTECODE": "1"},
        cwd=workspace,
        name="cracks serve",
    )
    url = json.loads(process.wait_until(lambda: process.stdout, "the address"))["url"]
    with httpx.Client(base_url=url, timeout=20) as client:
        yield client


def test_nothing_of_the_pipeline_is_installed(installed: ServingEnvironment) -> None:
    packages = installed.packages
    assert {"fastapi", "openvino", "uvicorn"} <= packages
    assert packages & PIPELINE_ONLY == set()


def test_it_is_installed_in_less_than_a_minute(installed: ServingEnvironment) -> None:
    assert installed.seconds < 60


def test_it_predicts_there(service: httpx.Client) -> None:
    response = service.post("/predict", files={"files": ("column.png", grey_image(200))})
    assert response.status_code == 200, response.text
    (prediction,) = response.json()["predictions"]
    assert (prediction["label"], prediction["score"]) == ("crack", pytest.approx(200 / 255, 1e-4))


def test_predict_on_the_command_line_runs_there_too(
    start: StartProcess, installed: ServingEnvironment, workspace: Path
) -> None:
    image = workspace / "column.png"
    image.write_bytes(grey_image(60))
    program = "import commands; commands.main()"
    process = start(
        [installed.python, "-c", program, "-C", workspace, "predict", image, "--json"],
        variables={"PYTHONDONTWRITEBYTECODE": "1"},
        cwd=workspace,
    )
    assert process.wait(30) == 0, process.log
    assert [row["label"] for row in json.loads(process.stdout)] == ["no crack"]
