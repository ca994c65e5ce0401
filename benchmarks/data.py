"""The part `data`: what the stages and the storage of the data cost."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from benchmarks.bench import Bench
from benchmarks.measurements import Measure, Row, compared, in_turn, measured
from benchmarks.photographs import Photographs
from benchmarks.scratch import MeasurementFailed, Scratch, own_peak_mb
from benchmarks.storage import s3_endpoint
from benchmarks.workspaces import Workspace

#: The stages that see the photographs before anything is learned from them.
DATA_STAGES = ("ingest", "split", "validate")

#: Repetitions, and up to how many loose files they are affordable on the way to S3 and back.
REPETITIONS, FEW_FILES = 3, 5000


def measures(photographs: Photographs, scratch: Scratch) -> dict[str, Measure]:
    """Return what this part measures, by name."""
    bench = DataBench(photographs, scratch)
    return {"data.stages": bench.stages, "data.storage": bench.storage}


class DataBench(Bench):
    """Measures ingest, split, validate, and the way of the shards to S3 and back."""

    @cached_property
    def _workspace(self) -> Workspace:
        return Workspace(self.scratch, "workspace", self.photographs.path)

    def stages(self) -> Iterator[Row]:
        """Measure the time and memory of ingest, split and validate."""
        runs = [self._workspace.run_all(DATA_STAGES) for _ in range(REPETITIONS)]
        together = [sum(run.seconds for run in one.values()) for one in runs]
        limit = "ingest, split and validate together; the limit is 60 s for 20,000"
        yield measured("data.three_stages_s", together, "s", self.note(limit))
        for stage in DATA_STAGES:
            peaks = [one[stage].peak_mb for one in runs]
            if min(peaks) <= own_peak_mb():
                raise MeasurementFailed(f"{stage} needs less memory than the benchmark itself")
            note = self.note("the largest process of the stage")
            yield measured(f"data.memory_{stage}_mb", peaks, "MB", note)

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
        said = "shards against loose files on one S3 endpoint (rclone); ratio: times faster"
        for way in ("push", "pull"):
            yield compared(
                f"data.{way}_vs_loose_files",
                [trip[way] for trip in ours],
                [trip[way] for trip in reference],
                "s",
                self.note(f"{said}; cache and files were gone before the pull"),
                inverse=True,
            )
