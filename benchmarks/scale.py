"""The part `scale`: what a cluster gains, what it costs beside this machine, and how it goes on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property
from itertools import count
from typing import Any

from benchmarks.bench import Bench
from benchmarks.measurements import Measure, Row, compared, measured, speeds
from benchmarks.photographs import Photographs
from benchmarks.scratch import MeasurementFailed, Scratch, free_port, tool
from benchmarks.storage import BUCKET, s3_endpoint
from benchmarks.workspaces import Workspace

#: Shards that two workers compute; one worker gets half of them. And how often it is measured.
SHARDS, REPETITIONS = 4, 2

#: Limits on 2 cores.
EFFICIENCY, AGAINST_LOCAL = 0.85, 0.75

#: The prefix of the store in the bucket.
STORE = "cluster"

#: Seconds in which scheduler and workers must be there.
STARTED_WITHIN = 120

#: As infra/cluster.compose.yaml starts workers.
DASK_SETTINGS = {"DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False"}

_numbers = count()


def measures(photographs: Photographs, scratch: Scratch) -> dict[str, Measure]:
    """Return what this part measures, by name."""
    return {"scale.speed": ScaleBench(photographs, scratch).speed}


class ScaleBench(Bench):
    """Measures how fast features are computed, on a cluster and here."""

    def speed(self) -> Iterator[Row]:
        """Compare two workers with one on half the shards, and with this machine alone."""
        shards = min(SHARDS, self._workspace.timed("store-network")["shards"] // 2 * 2)
        if not shards:
            raise MeasurementFailed("two workers need two shards: give more photographs")
        options = ("--dir-cache-time", "1ms", "--poll-interval", "0")
        two, local, again, one = [], [], [], []
        with s3_endpoint(self.scratch, *options) as endpoint:
            known = {**endpoint.variables, "PYTHONPATH": str(self._workspace.paths.root)}
            with self._cluster(2, known) as cluster:
                for _ in range(REPETITIONS):
                    self._forget_results()
                    two.append(self._features(shards, cluster))
                    again.append(self._features(shards, cluster))
                    local.append(self._features(shards, {}))
            with self._cluster(1, known) as cluster:
                for _ in range(REPETITIONS):
                    self._forget_results()
                    one.append(self._features(shards // 2, cluster))
        if len({run["digest"] for run in (*two, *again, *local)}) > 1:
            raise MeasurementFailed("the cluster has computed other bytes than this machine")
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

    @cached_property
    def _workspace(self) -> Workspace:
        params = self.backbone_params()
        workspace = Workspace(self.scratch, "scale", self.photographs.path, params)
        workspace.run("ingest")
        return workspace

    def _features(self, shards: int, variables: Mapping[str, str]) -> dict[str, Any]:
        self.scratch.tell(f"{'cluster' if variables else 'local'}: {shards} shards")
        folder = self.scratch.place / f"features-{next(_numbers)}"
        found = self._workspace.timed("features", shards, folder, **variables)
        shutil.rmtree(folder)
        return found

    def _forget_results(self) -> None:
        shutil.rmtree(self.scratch.place / "s3" / BUCKET / STORE / "features", ignore_errors=True)

    @contextmanager
    def _cluster(self, workers: int, variables: Mapping[str, str]) -> Iterator[dict[str, str]]:
        """Yield what a client needs of a scheduler and workers, each a process of one thread.

        Each worker has computed a shard already, for which it loads the network once and for all.

        Args:
            workers: how many.
            variables: by which they reach the storage, and find the code that is measured.

        Raises:
            MeasurementFailed: it does not start.
        """
        port = free_port()
        address = f"tcp://127.0.0.1:{port}"
        options = ("--nthreads", "1", "--no-nanny", "--memory-limit", "2GiB", "--local-directory")
        folder = self.scratch.place / "dask"
        with ExitStack() as stack:

            def start(name: str, said: str, *arguments: object) -> None:
                command = tool("dask", *arguments, "--host", "127.0.0.1", "--no-dashboard")
                settings = {**DASK_SETTINGS, **variables}
                process = self.scratch.started(name, command, self.scratch.place, **settings)
                started = stack.enter_context(process)
                started.wait_until(lambda text: said in text, said, STARTED_WITHIN)

            start("scheduler", "Scheduler at:", "scheduler", "--port", port)
            for number in range(workers):
                start(f"worker-{number}", "Registered to:", "worker", address, *options, folder)
            client = {
                **variables,
                "DASK_SCHEDULER_ADDRESS": address,
                "CRACKS_CLUSTER_STORE": f"s3://{BUCKET}/{STORE}",
            }
            self._forget_results()
            self._features(workers, client)
            yield client

    def _note(self, said: str) -> str:
        return self.note(f"MobileNetV2 at 160 pixels; {said}")
