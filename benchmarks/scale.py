"""The part `scale`: what a cluster gains, what it costs beside this machine, and how it goes on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from itertools import count
from typing import Any

from benchmarks.bench import Bench
from benchmarks.clusters import dask_cluster
from benchmarks.measurements import Measure, Row, compared, measured, speeds
from benchmarks.photographs import Photographs
from benchmarks.scratch import MeasurementFailed, Scratch
from benchmarks.storage import BUCKET, s3_endpoint
from benchmarks.weights import NETWORK_PARAMS, network_params, trained_weights
from benchmarks.workspaces import Workspace

#: Shards that two workers compute; one worker gets half of them.
SHARDS = 4

#: How often each of them is measured.
REPETITIONS = 2

#: Limits on 2 cores.
EFFICIENCY, AGAINST_LOCAL = 0.85, 0.75

#: The prefix of the store in the bucket.
STORE = "cluster"

_numbers = count()


def measures(photographs: Photographs, scratch: Scratch) -> dict[str, Measure]:
    """Return what this part measures, by name."""
    return {"scale.speed": ScaleBench(photographs, scratch).speed}


class ScaleBench(Bench):
    """Measures with some photographs in a scratch folder."""

    def speed(self) -> Iterator[Row]:
        """Compare two workers with one on half the shards, and with this machine alone."""
        shards = self._shards
        if shards < 2:
            raise MeasurementFailed("two workers need two shards: give more photographs")
        two, local, again, one = [], [], [], []
        with ExitStack() as stack:
            endpoint = stack.enter_context(
                s3_endpoint(self.scratch, "--dir-cache-time", "1ms", "--poll-interval", "0")
            )
            known = {**endpoint.variables, "PYTHONPATH": str(self._workspace.paths.root)}
            with dask_cluster(self.scratch, 2, known) as address:
                cluster = {**known, **_settings(address)}
                self._let_workers_load(2, cluster)
                for _ in range(REPETITIONS):
                    self._forget_results()
                    two.append(self._timed(shards, cluster))
                    again.append(self._timed(shards, cluster))
                    local.append(self._timed(shards, {}))
            with dask_cluster(self.scratch, 1, known) as address:
                cluster = {**known, **_settings(address)}
                self._let_workers_load(1, cluster)
                for _ in range(REPETITIONS):
                    self._forget_results()
                    one.append(self._timed(shards // 2, cluster))
        _require_same([*two, *again, *local])
        yield compared(
            "scale.efficiency_2_workers",
            [speed / 2 for speed in speeds(two)],
            speeds(one),
            "images/s a worker",
            self._note(
                f"two workers of one thread, {shards} shards, {two[0]['images']:,} patches; "
                f"reference: one such worker, half the shards; at least {EFFICIENCY}"
            ),
        )
        yield compared(
            "scale.cluster_vs_local",
            speeds(two),
            speeds(local),
            "images/s",
            self._note(
                "the same two workers with scheduler, client and storage on the same two cores; "
                f"reference: the local path; the same bytes; at least {AGAINST_LOCAL}"
            ),
        )
        yield measured(
            "scale.resume_s",
            [run["seconds"] for run in again],
            "s",
            self._note("a run that finds every result in the store and brings them to this disk"),
        )

    def _timed(self, shards: int, variables: Mapping[str, str]) -> dict[str, Any]:
        self.scratch.tell(f"{'cluster' if variables else 'local'}: {shards} shards")
        folder = self.scratch.place / f"features-{next(_numbers)}"
        found = self._timings(self._workspace, "featurize", shards, folder, **variables)
        shutil.rmtree(folder)
        self.scratch.tell(f"{found['images_per_s']:.0f} images/s")
        return found

    def _let_workers_load(self, workers: int, cluster: Mapping[str, str]) -> None:
        """Give each worker a shard to compute, for which it loads the network once and for all."""
        self._forget_results()
        self._timed(workers, cluster)

    def _forget_results(self) -> None:
        shutil.rmtree(self.scratch.place / "s3" / BUCKET / STORE / "features", ignore_errors=True)

    @cached_property
    def _prepared(self) -> tuple[Workspace, int]:
        weights = trained_weights()
        chosen = network_params(weights) if weights else NETWORK_PARAMS
        workspace = Workspace(self.scratch, "scale", self.photographs.loose().parent, chosen)
        workspace.run("ingest")
        return workspace, int(self._timings(workspace, "prepare")["shards"])

    def _timings(
        self, workspace: Workspace, what: str, *arguments: object, **variables: str
    ) -> dict[str, Any]:
        module, root = "benchmarks.scale_timings", workspace.paths.root
        return self.scratch.run_module(module, what, *arguments, cwd=root, **variables).found

    @property
    def _workspace(self) -> Workspace:
        return self._prepared[0]

    @property
    def _shards(self) -> int:
        """An even number, of whole shards but for the last."""
        return min(SHARDS, self._prepared[1] // 2 * 2)

    def _note(self, said: str) -> str:
        weights = "" if trained_weights() else ", random weights"
        return f"{self.photographs.name}, MobileNetV2 at 160 pixels{weights}; {said}"


def _settings(address: str) -> dict[str, str]:
    return {"DASK_SCHEDULER_ADDRESS": address, "CRACKS_CLUSTER_STORE": f"s3://{BUCKET}/{STORE}"}


def _require_same(runs: Sequence[Mapping[str, Any]]) -> None:
    if len({run["digest"] for run in runs}) > 1:
        raise MeasurementFailed("the cluster has computed other bytes than this machine")
