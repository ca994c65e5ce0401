"""The part `data`: what the stages and the storage of the data cost."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench
from benchmarks.measurements import Measure, Row, compared, in_turn, measured
from benchmarks.photographs import DRAWN, Photographs, drawn_sample, link_files
from benchmarks.scratch import MeasurementFailed, Scratch, own_peak_mb
from benchmarks.storage import s3_endpoint
from benchmarks.workspaces import Workspace
from cracks.dataset.ingest.sources.synthetic import table_of
from cracks.dataset.labels import LABELS
from cracks.dataset.photos.photo_table import PHOTO_TABLE
from cracks.images.synthetic_concrete import Origin, origins_of_sample
from cracks.workspace.params_file import set_params

#: The stages that see the photographs before anything is learned from them.
DATA_STAGES = ("ingest", "split", "validate")

#: Which files of each label come first where the data grows, by their place in the order of names.
GROWTH_BY_NAME: dict[str, Callable[[int], bool]] = {
    "blocks of 1000": lambda place: place // 1000 % 2 == 0,
    "nine of ten": lambda place: place % 10 != 0,
}

#: Which drawn patches come first where a team's data grows, of all in the order in which they were
#: taken.
GROWTH_OF_DRAWN: dict[str, Callable[[list[Origin]], list[Origin]]] = {
    "by site": lambda origins: [one for one in origins if one.site <= "drawn site 3"],
    "by time": lambda origins: origins[: len(origins) // 2],
}

#: Repetitions, and up to how many loose files they are affordable on the way to S3 and back.
REPETITIONS, FEW_FILES = 3, 5000


def measures(photographs: Photographs, scratch: Scratch) -> dict[str, Measure]:
    """Return what this part measures, by name."""
    bench = DataBench(photographs, scratch)
    return {
        "data.stages": bench.stages,
        "data.split": bench.split,
        "data.storage": bench.storage,
    }


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

    def split(self) -> Iterator[Row]:
        """Measure the groups of the split, and what is left out where the data grows."""
        loose = self.photographs.loose()
        for way, is_early in GROWTH_BY_NAME.items():
            early = self._early(way)
            for label in sorted(folder for folder in loose.rglob("*") if folder.is_dir()):
                files = sorted(file for file in label.iterdir() if file.is_file())
                link_files((file for i, file in enumerate(files) if is_early(i)), loose, early)
            yield self._left_out_growing(way, early, loose, self.note("in the order of names"))
        drawn = drawn_sample(self.scratch)
        origins = sorted(origins_of_sample(DRAWN), key=lambda origin: origin.taken)
        for way, first in GROWTH_OF_DRAWN.items():
            early = self._early(way)
            link_files((drawn / origin.name for origin in first(origins)), drawn, early)
            (early / PHOTO_TABLE).write_bytes(table_of(first(origins)))
            note = f"{DRAWN} drawn patches, photographs known"
            yield self._left_out_growing(way, early, drawn, note)
        if not self._workspace.paths.report("split").is_file():
            self._split_report(self._workspace)
        whole = self._workspace.report("split")
        for name, value in (
            ("crack_groups_in_test", whole["crack_groups"]["test"]),
            ("largest_group", whole["largest_group"]),
            ("left_out", max(whole["left_out"].values())),
        ):
            yield measured(f"data.{name}", [value], "", self.note("as one delivery"))

    def _early(self, way: str) -> Path:
        return self.scratch.place / f"early-{way.replace(' ', '-')}"

    def _left_out_growing(self, way: str, early: Path, whole: Path, note: str) -> Row:
        workspace = Workspace(self.scratch, f"growing-{early.name}", early)
        before = self._split_report(workspace)
        set_params(workspace.paths.params, [f"ingest.source={json.dumps(str(whole))}"])
        after = self._split_report(workspace)
        return measured(
            f"data.left_out_growing_{way.replace(' ', '_')}",
            [max(_left_out_of_new(before, after, label) for label in LABELS)],
            "share",
            f"{note}; {way} came first; share of the later patches of a label left out",
        )

    def _split_report(self, workspace: Workspace) -> dict[str, Any]:
        for stage in ("ingest", "split"):
            workspace.run(stage)
        return workspace.report("split")

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


def _left_out_of_new(before: Mapping[str, Any], after: Mapping[str, Any], label: str) -> float:
    """Return which share of the patches of a label that came later stands in no split."""

    def patches(report: Mapping[str, Any]) -> int:
        used = sum(counts[label] for counts in report["counts"].values())
        return int(used + report["left_out"][label])

    left_out = after["left_out"][label] - before["left_out"][label]
    return float(left_out / max(patches(after) - patches(before), 1))
