"""The newcomer's first command: from a clone to a served prediction; the checkout stays clean."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from processes import clone_working_tree, environment

from cracks.inference.handover.training_summaries import read_runs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

#: The checkout, and what its demo printed.
Demo = tuple[Path, subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    checkout = clone_working_tree(tmp_path_factory.mktemp("checkout"))
    done = subprocess.run(
        [sys.executable, "infra/demo.py"],
        cwd=checkout,
        env=environment(PYTHONPATH=str(checkout)),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    return checkout, done


def test_the_demo_ends_with_a_champion_and_says_what_to_do_next(demo: Demo) -> None:
    _, done = demo
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Version 1 is the champion" in done.stdout
    for command in ("make mlflow-ui", "make prefect-ui", "data_docs/overview.html", "cracks -C"):
        assert command in done.stdout


def test_the_small_network_learns_the_drawn_sample(demo: Demo) -> None:
    checkout, _ = demo
    report = json.loads((checkout / ".demo/workspace/reports/evaluate.json").read_text())
    # A linear model's accuracy lay below 0.58 over seeds and splits, that of this network above
    # 0.95. The area under the ROC curve depends on no threshold; claimed is what its confidence
    # interval excludes.
    assert report["test"]["intervals"]["roc_auc"]["low"] > 0.8


def test_the_figures_that_people_look_at_are_drawn(demo: Demo) -> None:
    checkout, _ = demo
    figures = (checkout / ".demo/workspace/reports/figures").rglob("*.png")
    assert {figure.stem for figure in figures} == {
        "examples",
        "nearest_pairs",
        "augmentation",
        "learning_curves",
        "layers",
        "confusion",
        "roc",
        "precision_recall",
        "calibration",
        "mistakes",
        "label_errors",
        "least_certain",
        "novelty",
        "slices",
        "behaviour",
        "perturbations",
        "occlusion",
    }


def test_the_service_is_told_of_the_training(demo: Demo) -> None:
    checkout, _ = demo
    told, *_ = read_runs(checkout / ".demo/workspace/service")
    report = json.loads((checkout / ".demo/workspace/reports/evaluate.json").read_text())
    assert (told.outcome, told.version) == ("promoted", "1")
    assert told.test["accuracy"].value == report["test"]["accuracy"]
    assert told.data is not None
    assert (told.data.patches, told.data.broken) == (3000, [])
    assert set(told.stages.values()) == {"ran"}


def test_the_demo_leaves_the_checkout_clean(demo: Demo) -> None:
    checkout, _ = demo
    command = ["git", "status", "--porcelain"]
    status = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=True)
    assert status.stdout == ""
