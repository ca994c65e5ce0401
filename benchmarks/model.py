"""The part `model`: what the way from photographs to answers costs, and what it is worth."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.bench import SHARDS, Bench
from benchmarks.measurements import Measure, Row, compared, in_turn, measured, speeds
from benchmarks.photographs import Photographs
from benchmarks.pipeline import Pipeline, Reproduced
from benchmarks.scratch import MeasurementFailed, Scratch
from benchmarks.weights import network_params, trained_weights
from benchmarks.workspaces import Workspace
from cracks.inference.runtime.openvino_runtime import NETWORK
from cracks.workspace.params_file import load_params, set_params

#: Further values of a parameter of the head.
DROPOUTS = (0.3, 0.4, 0.5)

#: Epochs of the notebooks' recipe, and the steps of training that are really run.
EPOCHS, STEPS = 10, 40

#: Repetitions; the whole pipeline has as many with few photographs only.
REPETITIONS, FEW_PHOTOGRAPHS = 3, 5000

#: Images that Keras, which is slow, and the bundle answer for.
IMAGES = 512

#: Photographs, at most, with which precisions are compared, and what else is made cheap there.
COMPARED = 2500
CHEAP = ("evaluate.resamples=100", "evaluate.behaviour_patches=2", "evaluate.explained_patches=2")
#: A precision that flips labels is measured, not refused.
ACCEPTED = "export.max_flipped_share=1.0"

#: Limits for 20,000 photographs on 2 cores, in seconds.
LIMITS = {"all": 120, "head": 45, "nothing": 5}


def measures(photographs: Photographs, scratch: Scratch) -> dict[str, Measure]:
    """Return what this part measures, by name."""
    bench = ModelBench(photographs, scratch)
    return {
        "model.pipeline": bench.pipeline,
        "model.featurize": bench.featurize,
        "model.answers": bench.answers,
        "model.bf16": lambda: bench.precision("bf16"),
        "model.int8": lambda: bench.precision("int8"),
    }


class ModelBench(Bench):
    """Measures with some photographs in a scratch folder."""

    def pipeline(self) -> Iterator[Row]:
        """Time everything beside the notebooks' recipe, then what a small change or none takes."""
        repetitions = REPETITIONS if self.photographs.count <= FEW_PHOTOGRAPHS else 1
        ours, recipe = in_turn(repetitions, self._from_nothing, self._notebook_recipe)
        said = f"ours: dvc repro, {_stages(ours)}; limit {LIMITS['all']} s for 20,000; reference: "
        yield compared(
            "model.pipeline_vs_notebook_recipe",
            [run.seconds for run in ours],
            [extrapolated(found) for found in recipe],
            "s",
            self._note(said + recipe_note(recipe)),
            inverse=True,
        )
        if self._trained_weights:  # of random ones it would say nothing
            yield self._accuracy()
        heads = [f"train.dropout={dropout}" for dropout in DROPOUTS[:repetitions]]
        yield self._repeated("head_change", "head", heads)
        yield self._repeated("nothing_changed", "nothing", [None] * REPETITIONS)

    def featurize(self) -> Iterator[Row]:
        """Compare the loop of featurize with the plainest one, and with TensorFlow."""
        self._require_bundle()
        ours, others = in_turn(
            REPETITIONS,
            lambda: self._timed("featurize", SHARDS),
            lambda: (self._bare_loop(), self._timed("featurize-in-keras", IMAGES)),
        )
        bare, keras = [pair[0] for pair in others], [pair[1] for pair in others]
        said = f"loops over {ours[0]['images']:,} patches, without the start"
        whole = self._pipeline.stages()["featurize"]
        yield compared(
            "model.featurize_vs_bare_loop",
            speeds(ours),
            speeds(bare),
            "images/s",
            self._note(
                f"{said}; reference: OpenCV in threads and OpenVINO on the same network; the whole "
                f"stage took {whole:.0f} s with its start and all patches"
            ),
        )
        said = f"ours: as above; reference: predict for {keras[0]['images']} decoded patches by 32"
        yield compared(
            "model.featurize_vs_tensorflow",
            speeds(ours),
            speeds(keras),
            "images/s",
            self._note(said),
        )

    def answers(self) -> Iterator[Row]:
        """Compare the answers of the bundle with Keras' `predict`."""
        self._require_bundle()
        ours, keras = in_turn(
            REPETITIONS,
            lambda: self._timed("answer", IMAGES),
            lambda: self._timed("answer-in-keras", IMAGES),
        )
        p95 = [statistics.median(run["p95_ms"] for run in runs) for runs in (ours, keras)]
        said = "ours decodes the JPEG and knows novelty, Keras gets pixels"
        yield compared(
            "model.single_image_vs_keras",
            [run["median_ms"] for run in ours],
            [run["median_ms"] for run in keras],
            "ms",
            self._note(f"{said}; 95th percentile {p95[0]:.1f} and {p95[1]:.1f} ms"),
            inverse=True,
        )
        found = parity_note(self._pipeline.workspace)
        yield compared(
            "model.throughput_vs_keras",
            speeds(ours),
            speeds(keras),
            "images/s",
            self._note(f"{ours[0]['images']} images at once; {said}; {found}"),
        )
        many = statistics.median(run["novelty_of_many"] for run in ours)
        yield measured(
            "model.novelty_cost",
            [run["novelty_of_one"] for run in ours],
            "share",
            self._note(f"of the time of one answer; of many at once {many:.2g}"),
        )

    def precision(self, name: str) -> Iterator[Row]:
        """Compare the speed of a precision with that of f32, and its scores with Keras'."""
        self._require_bundle()
        set_params(self._thinned.paths.params, [f"featurize.precision={name}"])
        self._thinned.run("featurize")
        ours, exact = in_turn(
            REPETITIONS,
            lambda: self._timed("featurize", SHARDS, self._thinned),
            lambda: self._timed("featurize", SHARDS),
        )
        said = f"ours: {name}, reference: f32, both featurize's loop"
        if name == "bf16" and ours[0]["computes_in"] == "f32":
            said += "; this CPU has no bfloat16 and computes in f32, so these are its scores"
            scored = self._pipeline.workspace
        else:
            scored = self._thinned
            for stage in ("train", "evaluate", "export"):
                scored.run(stage)
        yield compared(
            f"model.{name}_images_per_s",
            speeds(ours),
            speeds(exact),
            "images/s",
            self._note(f"{said}; {parity_note(scored)}"),
        )

    # --- what is measured with ----------------------------------------------------------------

    @cached_property
    def _pipeline(self) -> Pipeline:
        return Pipeline(self.scratch, "pipeline", self.photographs.path, self._params)

    @cached_property
    def _thinned(self) -> Workspace:
        """A workspace of few of the photographs, assigned to splits."""
        folder = self.photographs.thinned(-(-self.photographs.count // COMPARED))
        workspace = Workspace(self.scratch, "precisions", folder, [*self._params, *CHEAP, ACCEPTED])
        workspace.run_all(["ingest", "split"])
        return workspace

    @property
    def _trained_weights(self) -> Path | None:
        return trained_weights()

    @cached_property
    def _weights(self) -> Path:
        if self._trained_weights:
            return self._trained_weights
        self.scratch.tell("drawing random weights")
        workspace = Workspace(self.scratch, "weights", self.photographs.path)
        return Path(self._timed("random-weights", 160, workspace)["file"])

    @property
    def _params(self) -> list[str]:
        return network_params(self._weights)

    def _require_bundle(self) -> None:
        if not self._pipeline.workspace.paths.bundle.is_dir():
            raise MeasurementFailed("it needs the bundle, which the pipeline did not make")

    # --- single runs --------------------------------------------------------------------------

    def _from_nothing(self) -> Reproduced:
        self._pipeline.forget()
        return self._pipeline.reproduce()

    def _repeated(self, name: str, limit: str, changes: Sequence[str | None]) -> Row:
        runs = []
        for change in changes:
            self._pipeline.change(*filter(None, [change]))
            runs.append(self._pipeline.reproduce())
        said = f"dvc repro, {_stages(runs)}; limit {LIMITS[limit]} s for 20,000"
        return measured(f"model.{name}_s", [run.seconds for run in runs], "s", self._note(said))

    def _accuracy(self) -> Row:
        test = self._pipeline.workspace.report("evaluate")["test"]
        interval = test["intervals"]["accuracy"]
        said = f"95 % interval {interval['low']:.4f} to {interval['high']:.4f}, by groups"
        return measured("model.test_accuracy", [test["accuracy"]], "share", self._note(said))

    def _notebook_recipe(self) -> dict[str, Any]:
        folder = labelled_folder(self.photographs.loose())
        self.scratch.tell("the notebooks' recipe")
        run = self.scratch.run_script("notebook_recipe.py", folder, self._weights, STEPS)
        return {**run.found, "seconds": run.seconds}

    def _bare_loop(self) -> dict[str, Any]:
        paths = self._pipeline.workspace.paths
        precision = load_params(paths.params).featurize.precision
        return self.bare_loop(paths, paths.featurizer / NETWORK, precision)

    def _timed(self, name: str, number: int, workspace: Workspace | None = None) -> dict[str, Any]:
        root = (workspace or self._pipeline.workspace).paths.root
        self.scratch.tell(f"{root.name}: {name}")
        return self.scratch.run_module("benchmarks.model_timings", name, number, cwd=root).found

    def _note(self, said: str) -> str:
        weights = "" if self._trained_weights else ", random weights"
        return f"{self.photographs.name}, n = {self.photographs.count:,}{weights}; {said}"


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


def recipe_note(runs: Sequence[Mapping[str, Any]]) -> str:
    """Return what was run of the notebooks' recipe, and what is extrapolated."""
    found = runs[0]
    steps = {phase: len(seconds) for phase, seconds in found["seconds_a_step"].items()}
    speed = {
        phase: found["batch_size"] / statistics.mean(seconds)
        for phase, seconds in found["seconds_a_step"].items()
    }
    return (
        f"{EPOCHS} frozen epochs of MobileNetV2 at 160 pixels, from loose files to weights in "
        f"memory, extrapolated linearly from {steps['training']} steps of training "
        f"({speed['training']:.0f} images/s) and "
        f"{steps['validation']} of validation ({speed['validation']:.0f} images/s), batch "
        f"{found['batch_size']}; {found['seconds'] / extrapolated(found):.1%} of it really ran"
    )


def parity_note(workspace: Workspace) -> str:
    """Return how far the bundle's scores are from those of Keras."""
    found = workspace.report("export")["parity"]["openvino"]
    return (
        f"scores differ from Keras' by {found['largest_score_difference']:.2g} at most, "
        f"{found['flipped_labels']} of {found['compared']} labels flipped"
    )


def _stages(runs: Sequence[Reproduced]) -> str:
    """Return the seconds of each stage in the middle one of some runs."""
    return str(sorted(runs, key=lambda run: run.seconds)[len(runs) // 2])
