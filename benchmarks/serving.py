"""The part `serving`: what an answer costs over HTTP, under load, and while champions change."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import requests
from PIL import Image

from benchmarks.bench import Bench
from benchmarks.load import Plan
from benchmarks.measurements import Measure, Row, compared, in_turn, measured, speeds
from benchmarks.photographs import Photographs
from benchmarks.scratch import MeasurementFailed, Scratch, free_port, last_json, tool
from benchmarks.swapping import memory_of
from benchmarks.versions import Versions, train_two_versions
from benchmarks.weights import network_params, trained_weights
from cracks.dataset.shards import count_rows, read_contents, shard_files
from cracks.images.decode import decode
from cracks.inference.bundle.bundle import NETWORK, open_bundle
from cracks.workspace.params_file import load_params

#: Photographs, at most, that the two versions are trained on.
LEARNED_FROM = 2500

#: Images that are asked for in turn; clients; seconds of one measurement; repetitions.
IMAGES, CLIENTS, SECONDS, REPETITIONS = 128, 32, 10, 3

#: The module that asks, and seconds that MLflow's server has to start.
LOAD, MLFLOW_STARTED_WITHIN = "benchmarks.load_clients", 180

#: Of the plain JSON that MLflow's server takes, an image is half a megabyte.
MLFLOW_IMAGES = 8

#: The photograph that is inspected: 12 megapixels.
WIDTH, HEIGHT = 4000, 3000

#: Promotions and rollbacks, and the clients that ask meanwhile.
SWAPS, SWAP_CLIENTS, SWAP_IMAGES = 200, 16, 8

#: Seconds of twice the load that can be sustained, and connections that are open for it.
OVERLOAD_SECONDS, OVERLOAD_CONNECTIONS = 600, 1000

#: Requests a second of quiet use.
QUIET = 2.0

JPEG, JSON = "image/jpeg", "application/json"


def measures(photographs: Photographs, scratch: Scratch) -> dict[str, Measure]:
    """Return what this part measures, by name."""
    bench = ServingBench(photographs, scratch)
    return {
        "serving.loop": bench.loop,
        "serving.mlflow": bench.mlflow,
        "serving.offline": bench.offline,
        "serving.inspect": bench.inspect,
        "serving.swaps": bench.swaps,
        "serving.overload": bench.overload,
    }


class ServingBench(Bench):
    """Measures with some photographs in a scratch folder."""

    def loop(self) -> Iterator[Row]:
        """Compare the throughput of `/predict` with that of the bare loop."""
        with self._versions.served() as service:
            ask = self._plan(service.url + "/predict", self._images)
            ours, bare = in_turn(REPETITIONS, lambda: self._load(ask), self._bare_loop)
        yield compared(
            "serving.throughput_vs_bare_loop",
            speeds(ours),
            speeds(bare),
            "images/s",
            self._note(
                f"{CLIENTS} clients, one image a request, on the same cores; p99 "
                f"{_worst(ours):.0f} ms; reference: OpenCV in threads and OpenVINO, without HTTP"
            ),
        )

    def mlflow(self) -> Iterator[Row]:
        """Compare `/predict` with MLflow's own server of the same version."""
        with self._versions.served() as service, self._served_by_mlflow() as other:
            ask_ours = self._plan(service.url + "/predict", self._images)
            ask_mlflow = self._plan(other + "/invocations", self._as_json, content_type=JSON)

            def mlflow(**changes: Any) -> dict[str, Any]:
                found = self._load(ask_mlflow, **changes)
                # It goes on with what its clients left; an answer to one more says that it is done.
                _post(ask_mlflow.url, self._as_json[0].read_bytes(), content_type=JSON)
                return found

            many = in_turn(REPETITIONS, lambda: self._load(ask_ours), mlflow)
            single = in_turn(
                REPETITIONS, lambda: self._load(ask_ours, clients=1), lambda: mlflow(clients=1)
            )
        yield compared(
            "serving.throughput_vs_mlflow",
            speeds(many[0]),
            speeds(many[1]),
            "images/s",
            self._note(
                f"{CLIENTS} clients, one image a request; p99 {_worst(many[0]):.0f} ms, MLflow's "
                f"{_worst(many[1]):.0f} ms; reference: `mlflow models serve` of the same version"
            ),
        )
        yield compared(
            "serving.latency_vs_mlflow",
            _medians(single[0]),
            _medians(single[1]),
            "ms",
            self._note(
                f"one client; p99 {_worst(single[0]):.0f} ms, MLflow's {_worst(single[1]):.0f} ms"
            ),
            inverse=True,
        )

    def offline(self) -> Iterator[Row]:
        """Compare `cracks predict` on loose files with the bare loop."""
        folder = self.photographs.loose()

        def ours() -> float:
            out = self.scratch.temporary / f"scores-{time.monotonic_ns()}"
            seconds = self._versions.cracks("predict", folder, "--out", out).seconds
            return self.photographs.count / seconds

        repetitions = REPETITIONS if self.photographs.count < 5000 else 1
        runs, bare = in_turn(repetitions, ours, self._bare_loop)
        yield compared(
            "serving.offline_vs_bare_loop",
            runs,
            speeds(bare),
            "images/s",
            self._note(
                "ours: the whole command with its start, files to Parquet; reference: the bare "
                "loop over shards, without its start"
            ),
        )

    def inspect(self) -> Iterator[Row]:
        """Time the inspection of a whole photograph."""
        photo = self._photograph()
        url = "/inspect"
        with self._versions.served() as service:
            answer = _post(service.url + url, photo)
            seconds = [_timed(service.url + url, photo) for _ in range(5)]
            overlays = [_timed(service.url + url, photo, "image/jpeg") for _ in range(3)]
        yield measured(
            "serving.inspect_12mp_s",
            seconds,
            "s",
            self._note(
                f"{WIDTH} × {HEIGHT} pixels, {len(answer['tiles'])} tiles, answered as JSON; the "
                f"overlay instead: {statistics.median(overlays):.2f} s; limit 3 s"
            ),
        )

    def overload(self) -> Iterator[Row]:
        """Ask twice as much as can be answered, for long, and see what becomes of the service."""
        with self._versions.served() as service:
            ask = self._plan(service.url + "/predict", self._images)
            sustained = self._load(ask)["images_per_s"]
            before = self._load(ask, clients=4, per_second=QUIET)
            memory = memory_of(service.pid)
            during = self._load(
                ask,
                clients=OVERLOAD_CONNECTIONS,
                seconds=OVERLOAD_SECONDS,
                per_second=2 * sustained,
            )
            peak = memory_of(service.pid)
            after = self._load(ask, clients=4, per_second=QUIET)
        statuses = during["statuses"]
        others = {name: n for name, n in statuses.items() if name not in ("200", "429")}
        yield compared(
            "serving.overload_images_per_s",
            [during["images_per_s"]],
            [sustained],
            "images/s",
            self._note(
                f"{OVERLOAD_SECONDS} s at {2 * sustained:.0f} requests a second; reference: "
                f"{CLIENTS} clients in turn; answered {statuses.get('200', 0):,}, refused with 429 "
                f"{statuses.get('429', 0):,}, others {others or 'none'}; p99 "
                f"{_worst([during]):.0f} ms; memory {memory:.0f} MB before, {peak:.0f} MB at the "
                f"end; median at {QUIET:g} requests a second {_medians([before])[0]:.1f} ms before "
                f"and {_medians([after])[0]:.1f} ms after"
            ),
        )

    def swaps(self) -> Iterator[Row]:
        """Promote and roll back again and again while clients ask without a pause."""
        finished = self.scratch.temporary / "finished"
        images = self._images[:SWAP_IMAGES]
        with self._versions.served() as service:
            plan = self._plan(service.url + "/predict", images).model_copy(
                update={
                    "clients": SWAP_CLIENTS,
                    "seconds": 3600.0,
                    "until": finished,
                    "check": self._scores(images),
                }
            )
            command = tool("python", "-m", LOAD, self._written(plan))
            with self.scratch.started("load", command, self._root) as load:
                given = (SWAPS, service.pid, finished)
                run = self.scratch.run_module("benchmarks.swapping", *given, cwd=self._root)
                load.process.wait(60)
            asked, swapped = last_json(load.said), run.found
        failed = sum(n for status, n in asked["statuses"].items() if status != "200")
        if asked["mixed"] or len(asked["versions"]) < 2:
            raise MeasurementFailed(
                f"{asked['mixed']} answers are not of the version they name; answered by "
                f"{asked['versions']}"
            )
        growth = swapped["megabytes_after"] / swapped["megabytes_before"] - 1
        yield measured(
            "serving.swap_failed_requests",
            [failed],
            "requests",
            self._note(
                f"{SWAPS} promotions and rollbacks while {SWAP_CLIENTS} clients asked, "
                f"{swapped['seconds']:.1f} s each; {asked['statuses'].get('200', 0):,} answers, "
                f"every score that of the version it names; p99 {_worst([asked]):.0f} ms; memory "
                f"{swapped['megabytes_before']:.0f} MB in the first swaps, "
                f"{swapped['megabytes_after']:.0f} MB in the last ({growth:+.1%}), at most "
                f"{swapped['megabytes_at_most']:.0f} MB"
            ),
        )

    # --- what is measured with ----------------------------------------------------------------

    @cached_property
    def _versions(self) -> Versions:
        folder = self.photographs.thinned(-(-self.photographs.count // LEARNED_FROM))
        weights = trained_weights()
        params = network_params(weights) if weights else ["train.epochs=2"]
        return train_two_versions(self.scratch, "serving", folder, params)

    @property
    def _root(self) -> Path:
        return self._versions.paths.root

    @cached_property
    def _contents(self) -> list[bytes]:
        shard = shard_files(self._versions.paths.images)[0]
        return read_contents(shard, list(range(min(IMAGES, count_rows(shard)))))

    @cached_property
    def _images(self) -> list[Path]:
        return self._files("image", self._contents)

    @cached_property
    def _as_json(self) -> list[Path]:
        """The same images as MLflow's server takes them: pixels, as numbers, as text."""
        pixels = [decode(content)[0] for content in self._contents[:MLFLOW_IMAGES]]
        bodies = [json.dumps({"inputs": [image.tolist()]}).encode() for image in pixels]
        return self._files("pixels", bodies)

    def _files(self, name: str, contents: Sequence[bytes]) -> list[Path]:
        files = [self.scratch.temporary / f"{name}-{n}" for n in range(len(contents))]
        for file, content in zip(files, contents, strict=True):
            file.write_bytes(content)
        return files

    def _photograph(self) -> bytes:
        """Return a JPEG of 12 megapixels, laid of the photographs' patches."""
        size = load_params(self._versions.paths.params).ingest.patch_size
        photo = Image.new("RGB", (WIDTH, HEIGHT))
        patches = [Image.fromarray(decode(content)[0]) for content in self._contents]
        places = [(x, y) for y in range(0, HEIGHT, size) for x in range(0, WIDTH, size)]
        for number, place in enumerate(places):
            photo.paste(patches[number % len(patches)], place)
        file = self.scratch.temporary / "photograph.jpg"
        photo.save(file, quality=92)
        return file.read_bytes()

    def _scores(self, images: Sequence[Path]) -> dict[str, list[float]]:
        """Return what each version answers for some images; version 1 answers again after it."""

        def scores() -> list[float]:
            answers = json.loads(self._versions.cracks("predict", *images, "--json").output)
            return [answer["score"] for answer in answers]

        first = scores()
        self._versions.cracks("promote", "2", "--why", "for the benchmark")
        second = scores()
        self._versions.cracks("rollback", "--why", "for the benchmark")
        return {"1": first, "2": second}

    @contextmanager
    def _served_by_mlflow(self) -> Iterator[str]:
        """Yield the address of MLflow's own server of the champion."""
        port = free_port()
        model = f"models:/{load_params(self._versions.paths.params).register_.model_name}@champion"
        options = ("-m", model, "--env-manager", "local", "--port", port)
        command = tool("mlflow", "models", "serve", *options)
        tracking = f"sqlite:///{self._versions.paths.local_tracking / 'mlflow.db'}"
        variables = {"MLFLOW_TRACKING_URI": tracking}
        url = f"http://127.0.0.1:{port}"
        with self.scratch.started("mlflow", command, self._root, **variables) as server:
            server.wait_until_up(url + "/ping", MLFLOW_STARTED_WITHIN)
            yield url

    # --- single runs --------------------------------------------------------------------------

    def _plan(self, url: str, bodies: list[Path], content_type: str = JPEG) -> Plan:
        return Plan(
            url=url, bodies=bodies, content_type=content_type, clients=CLIENTS, seconds=SECONDS
        )

    def _load(self, plan: Plan, **changes: Any) -> dict[str, Any]:
        changed = plan.model_copy(update=changes)
        self.scratch.tell(f"asking {changed.url}, {changed.clients} clients")
        found = self.scratch.run_module(LOAD, self._written(changed), cwd=self._root).found
        if not found["statuses"].get("200"):
            raise MeasurementFailed(f"{plan.url} answered nothing: {found['statuses']}")
        return found

    def _written(self, plan: Plan) -> Path:
        file = self.scratch.temporary / f"plan-{time.monotonic_ns()}.json"
        file.write_text(plan.model_dump_json(), encoding="utf-8")
        return file

    def _bare_loop(self) -> dict[str, Any]:
        paths = self._versions.paths
        return self.bare_loop(paths, paths.bundle / NETWORK, "f32")

    def _note(self, said: str) -> str:
        content = open_bundle(self._versions.paths.bundle).content
        trained = f"{content.architecture}, trained on {self.photographs.name}"
        return f"{trained}; {said}"


def _medians(runs: Sequence[Mapping[str, Any]]) -> list[float]:
    return [run["milliseconds"]["p50"] for run in runs]


def _worst(runs: Sequence[Mapping[str, Any]]) -> float:
    """Return the 99th percentile of the latencies, in the middle one of the runs."""
    return float(np.median([run["milliseconds"]["p99"] for run in runs]))


def _post(url: str, body: bytes, accept: str = JSON, content_type: str = JPEG) -> Any:
    headers = {"Content-Type": content_type, "Accept": accept}
    answer = requests.post(url, body, headers=headers, timeout=120)
    if answer.status_code != 200:
        raise MeasurementFailed(f"{url} answered {answer.status_code}: {answer.text[:200]}")
    return answer.json() if accept == JSON else answer.content


def _timed(url: str, photo: bytes, accept: str = JSON) -> float:
    start = time.perf_counter()
    _post(url, photo, accept)
    return time.perf_counter() - start
