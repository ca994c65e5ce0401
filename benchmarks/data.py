"""The part `data`: what the stages and the storage of the data cost, and how that grows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.measurements import Measure, Row, compared, in_turn, measured
from benchmarks.photographs import Photographs, count_files
from benchmarks.scratch import MeasurementFailed, Run, Scratch, own_peak_mb
from benchmarks.storage import s3_endpoint
from benchmarks.workspaces import Workspace
from cracks.workspace.paths import STAGES

#: The stages that see the photographs before anything is learned from them, and the others.
DATA_STAGES, LATER_STAGES = STAGES[:3], STAGES[3:]

#: How many times as many photographs growth is measured with.
GROWTH = 10

#: Repetitions, and up to how many loose files they are affordable on the way to S3 and back.
REPETITIONS, FEW_FILES = 3, 5000

#: Photographs that the later stages get at most.
LEARNED_FROM = 20_000

#: Memory has reached its peak after one epoch; more only take time.
QUICK_CNN = ("featurize.architecture=cnn", "featurize.weights=none", "train.epochs=1")

#: Growth of memory from which on the note says what it is that grows, and what it is by stage.
NOTED_GROWTH = 1.3
HELD = {
    "ingest": "SHA-256, name and place of every file (Places, _NamedOnce, the list of paths)",
    "split": "the manifest's rows, fingerprints, ids and paths as strings, pairs of near-copies",
    "validate": "the manifest as an Arrow table and as the pandas frames that are derived from it",
    "train": "the train split's features thrice (array, tensor, the buffer that shuffles them all)",
    "evaluate": "the features of validation and test, and the mapped files they are taken from",
    "export": "the JPEG bytes of the test split",
}


def measures(photographs: Photographs, scratch: Scratch) -> dict[str, Measure]:
    """Return what this part measures, by name."""
    bench = DataBench(photographs, scratch)
    return {
        "data.stages": bench.stages,
        "data.storage": bench.storage,
        "data.growth": bench.growth,
        "data.later_stages": bench.later_stages,
    }


class DataBench(Bench):
    """Measures with some photographs in a scratch folder."""

    @cached_property
    def _workspace(self) -> Workspace:
        return Workspace(self.scratch, "workspace", self.photographs.path)

    def stages(self) -> Iterator[Row]:
        """Time ingest, split and validate, beside reading every photograph once."""
        runs, plain = in_turn(
            REPETITIONS, lambda: self._workspace.run_all(DATA_STAGES), self._read_plainly
        )
        seconds = {stage: [run[stage].seconds for run in runs] for stage in DATA_STAGES}
        images = self._workspace.report("ingest")["files"]
        yield compared(
            "data.ingest_images_per_s",
            [images / taken for taken in seconds["ingest"]],
            [run.found["images"] / run.seconds for run in plain],
            "images/s",
            self._note("reference: one thread reads, hashes and decodes each file once"),
        )
        for stage in ("split", "validate"):
            yield measured(f"data.{stage}_s", seconds[stage], "s", self._note())
        together = [sum(run.seconds for run in one.values()) for one in runs]
        limit = "ingest, split and validate together; the limit is 60 s for 20,000"
        yield measured("data.three_stages_s", together, "s", self._note(limit))
        yield compared(
            "data.exact_copies",
            [self._workspace.report("split")["copies_left_out"]],
            [plain[0].found["copies"]],
            "files",
            self._note("files whose bytes came before; reference: counted by their SHA-256"),
        )

    def storage(self) -> Iterator[Row]:
        """Send shards and loose files to S3 and bring them back, each with DVC."""
        if not self._workspace.paths.images.is_dir():
            self._workspace.run("ingest")
        loose, shards = self.photographs.loose(), self._workspace.paths.images
        repetitions = REPETITIONS if self.photographs.count <= FEW_FILES else 1
        with s3_endpoint(self.scratch) as endpoint:
            ours, reference = in_turn(
                repetitions,
                lambda: endpoint.round_trip(shards),
                lambda: endpoint.round_trip(loose),
            )
        added = compared("", [t.add for t in ours], [t.add for t in reference], "s", "")
        said = (
            "shards against loose files on one S3 endpoint (rclone); ratio: how many times faster"
        )
        yield compared(
            "data.push_vs_loose_files",
            [trip.push for trip in ours],
            [trip.push for trip in reference],
            "s",
            self._note(f"{said}; `dvc add` before it: {added.ours} s and {added.reference} s"),
            inverse=True,
        )
        yield compared(
            "data.pull_vs_loose_files",
            [trip.pull for trip in ours],
            [trip.pull for trip in reference],
            "s",
            self._note(f"{said}; cache and files were gone"),
            inverse=True,
        )

    def growth(self) -> Iterator[Row]:
        """Run the stages of the data on ten times as many photographs."""
        with self.photographs.repeated(GROWTH) as folder:
            small = self._runs("once", self.photographs.loose(), DATA_STAGES)
            large = self._runs("repeated", folder, DATA_STAGES)
        note = self._note(f"ours: {GROWTH} n, all pictures repeated with other bytes; reference: n")
        seen = "equal pictures are looked for once, so see split_growth_distinct too"
        taken = [large["split"].seconds], [small["split"].seconds]
        yield compared("data.split_growth", *taken, "s", f"{note}; {seen}")
        rows = list(_memory_rows(small, large, note))
        yield from rows
        growth = max(row.ratio or 0.0 for row in rows)
        said = f"the largest ratio of {', '.join(DATA_STAGES)}; {note}"
        yield Row("data.memory_growth", growth, None, growth, None, "times", said)

    def later_stages(self) -> Iterator[Row]:
        """Measure the memory of the later stages on few photographs and on ten times as many."""
        step = -(-self.photographs.count // LEARNED_FROM)
        few, many = (self.photographs.thinned(every) for every in (GROWTH * step, step))
        stages = ("ingest", "split", *LATER_STAGES)
        small = self._runs("few", few, stages, *QUICK_CNN)
        large = self._runs("many", many, stages, *QUICK_CNN)
        said = (
            f"{self.photographs.name}; ours: {count_files(many):,} different photographs, "
            f"reference: {count_files(few):,}"
        )
        taken = [large["split"].seconds], [small["split"].seconds]
        yield compared("data.split_growth_distinct", *taken, "s", said)
        said += "; cnn, one epoch for time's sake"
        yield from _memory_rows(_only(LATER_STAGES, small), _only(LATER_STAGES, large), said)

    def _runs(
        self, name: str, source: Path, stages: tuple[str, ...], *assignments: str
    ) -> dict[str, Run]:
        workspace = Workspace(self.scratch, name, source, assignments)
        runs = workspace.run_all(stages)
        workspace.remove()
        return runs

    def _read_plainly(self) -> Run:
        self.scratch.tell("plain reading")
        return self.scratch.run_script("plain_reading.py", self.photographs.path)

    def _note(self, said: str = "") -> str:
        of = f"{self.photographs.name}, n = {self.photographs.count:,}"
        return f"{of}; {said}" if said else of


def _only(stages: tuple[str, ...], runs: Mapping[str, Run]) -> dict[str, Run]:
    return {stage: runs[stage] for stage in stages}


def _memory_rows(small: Mapping[str, Run], large: Mapping[str, Run], note: str) -> Iterator[Row]:
    for stage in small:
        peaks = [large[stage].peak_mb], [small[stage].peak_mb]
        if min(*peaks[0], *peaks[1]) <= own_peak_mb():
            raise MeasurementFailed(f"{stage} needs less memory than the benchmark itself")
        row = compared(f"data.memory_{stage}_mb", *peaks, "MB", note)
        if row.ratio and row.ratio > NOTED_GROWTH and stage in HELD:
            row = replace(row, note=f"{note}; what grows: {HELD[stage]}")
        yield row
