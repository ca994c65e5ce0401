"""The part `model`: what the way from photographs to predictions costs, and what it is worth."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bench import Bench
from benchmarks.measurements import Measure, Row, compared, in_turn, measured
from benchmarks.photographs import Photographs, trained_weights
from benchmarks.scratch import Run, Scratch
from benchmarks.workspaces import Workspace
from cracks.evaluation.intervals import rate_with_interval

#: Further values of a parameter of the head.
DROPOUTS = (0.3, 0.4, 0.5)

#: Epochs of the notebooks' recipe, and the steps of training that are really run.
EPOCHS, STEPS = 10, 40

#: Repetitions; the whole pipeline has as many with few photographs only.
REPETITIONS, FEW_PHOTOGRAPHS = 3, 5000

#: What intervals are tried on: photographs with cracks, the cracked patches of each, recall, and
#: how correlated the mistakes of one photograph are.
GROUPS, PATCHES, RECALL, CORRELATIONS = 188, 17, 0.95, (0.0, 0.1, 0.3, 0.6)
INTERVALS, SEED = 1000, 0

#: Limits for 20,000 photographs on 2 cores, in seconds.
LIMITS = {"all": 120, "head": 45, "nothing": 5}


def measures(photographs: Photographs, scratch: Scratch) -> dict[str, Measure]:
    """Return what this part measures, by name."""
    bench = ModelBench(photographs, scratch)
    return {
        "model.pipeline": bench.pipeline,
        "model.single_image": bench.single_image,
        "model.intervals": interval_coverage,
    }


class ModelBench(Bench):
    """Measures a workspace with the notebooks' network."""

    @cached_property
    def _workspace(self) -> Workspace:
        params = self.backbone_params()
        workspace = Workspace(self.scratch, "pipeline", self.photographs.path, params)
        self.scratch.run(["git", "init", "--quiet"], workspace.paths.root)
        return workspace

    def pipeline(self) -> Iterator[Row]:
        """Time everything beside the notebooks' recipe, then what a small change or none takes."""
        repetitions = REPETITIONS if self.photographs.count <= FEW_PHOTOGRAPHS else 1
        ours, recipe = in_turn(repetitions, self._from_nothing, self._notebook_recipe)
        said = f"ours: dvc repro; limit {LIMITS['all']} s for 20,000; reference: "
        yield compared(
            "model.pipeline_vs_notebook_recipe",
            [run.seconds for run in ours],
            [extrapolated(found) for found in recipe],
            "s",
            self.note(said + recipe_note(recipe[0])),
            inverse=True,
        )
        if trained_weights():  # of random ones it would say nothing
            yield self._accuracy()
        heads = [[f"train.dropout={dropout}"] for dropout in DROPOUTS[:repetitions]]
        yield self._reproduced("head_change_s", "head", heads)
        yield self._reproduced("nothing_changed_s", "nothing", [[]] * REPETITIONS)

    def single_image(self) -> Iterator[Row]:
        """Compare the bundle with Keras' `predict` on one photograph at a time."""
        ours, keras = in_turn(
            REPETITIONS,
            lambda: self._workspace.timed("single-image"),
            lambda: self._workspace.timed("single-image-in-keras"),
        )
        p95 = [statistics.median(run["p95_ms"] for run in runs) for runs in (ours, keras)]
        yield compared(
            "model.single_image_vs_keras",
            [run["median_ms"] for run in ours],
            [run["median_ms"] for run in keras],
            "ms",
            self.note(
                "ours decodes the JPEG and knows novelty, Keras gets pixels; 95th percentile "
                f"{p95[0]:.1f} and {p95[1]:.1f} ms"
            ),
            inverse=True,
        )

    def _from_nothing(self) -> Run:
        self._workspace.clear()
        return self._workspace.reproduce()

    def _reproduced(self, name: str, limit: str, changes: Sequence[Sequence[str]]) -> Row:
        seconds = [self._workspace.reproduce(*change).seconds for change in changes]
        note = self.note(f"dvc repro; limit {LIMITS[limit]} s for 20,000")
        return measured(f"model.{name}", seconds, "s", note)

    def _accuracy(self) -> Row:
        test = self._workspace.report("evaluate")["test"]
        interval = test["intervals"]["accuracy"]
        said = f"95 % interval {interval['low']:.4f} to {interval['high']:.4f}, by groups"
        return measured("model.test_accuracy", [test["accuracy"]], "share", self.note(said))

    def _notebook_recipe(self) -> dict[str, Any]:
        folder = labelled_folder(self.photographs.loose())
        self.scratch.tell("the notebooks' recipe")
        run = self.scratch.run_script("notebook_recipe.py", folder, self.weights, STEPS)
        return {**run.found, "seconds": run.seconds}


def interval_coverage() -> Iterator[Row]:
    """Count how often the interval of a crack recall holds it, on drawn photographs."""
    held = {one: coverage(one) for one in CORRELATIONS}
    said = (
        f"of {INTERVALS} intervals of 95 %, crack recall {RECALL:g} on {GROUPS} photographs of "
        f"about {PATCHES} patches; the furthest from 95 % of correlations within a photograph: "
    )
    each = ", ".join(f"{share:.1%} at {correlation}" for correlation, share in held.items())
    furthest = max(held.values(), key=lambda share: abs(share - 0.95))
    yield measured("model.interval_coverage", [furthest], "share", said + each)


def coverage(correlation: float) -> float:
    """Return the share of the intervals that hold the recall that they were drawn with."""
    random, held = np.random.default_rng(SEED), 0
    for _ in range(INTERVALS):
        patches = random.poisson(PATCHES - 1, GROUPS) + 1
        recalls = np.full(GROUPS, RECALL)
        if correlation:
            strength = (1 - correlation) / correlation
            recalls = random.beta(RECALL * strength, (1 - RECALL) * strength, GROUPS)
        hits = random.binomial(patches, recalls)
        photo = np.repeat(np.arange(GROUPS), patches)
        place = np.concatenate([np.arange(count) for count in patches])
        found = rate_with_interval(place < hits[photo], [f"{one:06}" for one in photo])
        low, high = found["low"], found["high"]
        held += low is not None and high is not None and low <= RECALL <= high
    return held / INTERVALS


def labelled_folder(folder: Path) -> Path:
    """Return the folder in which the two folders of labels lie, which may be `folder` itself."""
    photograph = next(file for file in folder.rglob("*") if file.is_file())
    return photograph.parent.parent


def extrapolated(found: Mapping[str, Any]) -> float:
    """Return the seconds of the notebooks' whole recipe, from the steps of it that were run.

    Args:
        found: what notebook_recipe.py printed.
    """
    epoch = sum(
        found["steps_of_epoch"][phase] * statistics.mean(found["seconds_a_step"][phase])
        for phase in ("training", "validation")
    )
    return float(found["start_seconds"] + EPOCHS * epoch)


def recipe_note(found: Mapping[str, Any]) -> str:
    """Return what was run of the notebooks' recipe, and what is extrapolated."""
    batch_size = found["batch_size"]
    run = [
        f"{len(seconds)} steps of {phase} ({batch_size / statistics.mean(seconds):.0f} images/s)"
        for phase, seconds in found["seconds_a_step"].items()
    ]
    return (
        f"{EPOCHS} frozen epochs of MobileNetV2 at 160 pixels, from loose files to weights in "
        f"memory, extrapolated linearly from {' and '.join(run)}, batch "
        f"{batch_size}; {found['seconds'] / extrapolated(found):.1%} of it really ran"
    )
