"""The part `serving`: what a prediction costs over HTTP and by the command line."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import requests
from PIL import Image

from benchmarks.bench import Bench
from benchmarks.measurements import Measure, Row, compared, in_turn, measured, speeds
from benchmarks.photographs import Photographs, network_params, trained_weights
from benchmarks.scratch import MeasurementFailed, Run, Scratch, free_port, tool
from benchmarks.workspaces import Workspace
from cracks.dataset.shards import count_rows, read_contents, shard_files
from cracks.images.decode import decode
from cracks.inference.bundle.bundle import NETWORK
from cracks.workspace.params_file import load_params

#: Photographs, at most, that the version in service is trained on.
LEARNED_FROM = 2500

#: Different images that are sent; clients; seconds of one measurement; repetitions.
IMAGES, CLIENTS, SECONDS, REPETITIONS = 128, 32, 10, 3

#: Seconds that our service, and MLflow's server, have to start.
STARTED_WITHIN, MLFLOW_STARTED_WITHIN = 120, 180

#: Of the plain JSON that MLflow's server takes, an image is half a megabyte; and it is so slow
#: that a measurement must be longer.
MLFLOW_IMAGES, MLFLOW_SECONDS = 8, 30

#: The photograph that is inspected: 12 megapixels.
WIDTH, HEIGHT = 4000, 3000

JPEG, JSON = "image/jpeg", "application/json"


def measures(photographs: Photographs, scratch: Scratch) -> dict[str, Measure]:
    """Return what this part measures, by name."""
    bench = ServingBench(photographs, scratch)
    return {
        "serving.loop": bench.loop,
        "serving.mlflow": bench.mlflow,
        "serving.offline": bench.offline,
        "serving.inspect": bench.inspect,
    }


class ServingBench(Bench):
    """Measures a workspace with one version in service."""

    def loop(self) -> Iterator[Row]:
        """Compare the throughput of `/predict` with that of the bare loop."""
        with self._served() as url:
            ours, bare = in_turn(
                REPETITIONS, lambda: self._load(f"{url}/predict", self._images), self._bare_loop
            )
        yield compared(
            "serving.throughput_vs_bare_loop",
            speeds(ours),
            speeds(bare),
            "images/s",
            self.note(
                f"{CLIENTS} clients, one image a request, on the same cores; p99 "
                f"{_p99(ours):.0f} ms; reference: OpenCV in threads and OpenVINO, without HTTP"
            ),
        )

    def mlflow(self) -> Iterator[Row]:
        """Compare `/predict` with MLflow's own server of the same version."""
        with self._served() as url, self._served_by_mlflow() as other:

            def mlflow() -> dict[str, Any]:
                found = self._load(other, self._as_json, JSON, MLFLOW_SECONDS)
                # It goes on with what its clients left; a response to one more says it is done.
                _post(other, (self._as_json / "0").read_bytes(), JSON)
                return found

            ours, mlflows = in_turn(
                REPETITIONS, lambda: self._load(f"{url}/predict", self._images), mlflow
            )
        yield compared(
            "serving.throughput_vs_mlflow",
            speeds(ours),
            speeds(mlflows),
            "images/s",
            self.note(
                f"{CLIENTS} clients, one image a request; p99 {_p99(ours):.0f} ms, MLflow's "
                f"{_p99(mlflows):.0f} ms; reference: `mlflow models serve` of the same version"
            ),
        )

    def offline(self) -> Iterator[Row]:
        """Compare `cracks predict` on loose files with the bare loop."""
        folder = self.photographs.loose()

        def ours() -> float:
            out = self.scratch.temporary / f"scores-{time.monotonic_ns()}"
            return self.photographs.count / self._cracks("predict", folder, "--out", out).seconds

        repetitions = REPETITIONS if self.photographs.count < 5000 else 1
        runs, bare = in_turn(repetitions, ours, self._bare_loop)
        yield compared(
            "serving.offline_vs_bare_loop",
            runs,
            speeds(bare),
            "images/s",
            self.note(
                "ours: the whole command with its start, files to Parquet; reference: the bare "
                "loop over shards, without its start"
            ),
        )

    def inspect(self) -> Iterator[Row]:
        """Time the inspection of a whole photograph."""
        photo = self._photograph()
        with self._served() as url:
            _post(f"{url}/inspect", photo)
            responses = [_post(f"{url}/inspect", photo) for _ in range(5)]
        yield measured(
            "serving.inspect_12mp_s",
            [response.elapsed.total_seconds() for response in responses],
            "s",
            self.note(
                f"{WIDTH} × {HEIGHT} pixels, {len(responses[0].json()['tiles'])} tiles, returned "
                "as JSON; limit 3 s"
            ),
        )

    # --- what is measured with ----------------------------------------------------------------

    @cached_property
    def _workspace(self) -> Workspace:
        """A workspace in which a version was trained on some photographs and put into service."""
        weights = trained_weights()
        network = network_params(weights) if weights else ["train.epochs=2"]
        params = ["register.limits={}", *network]
        folder = self.photographs.at_most(LEARNED_FROM)
        workspace = Workspace(self.scratch, "serving", folder, params)
        workspace.commit()
        self.scratch.tell("cracks train")
        self.scratch.run(_cracks(workspace, "train"), workspace.paths.root)
        return workspace

    def _cracks(self, *arguments: str | Path) -> Run:
        self.scratch.tell(f"cracks {arguments[0]}")
        return self.scratch.run(_cracks(self._workspace, *arguments), self._workspace.paths.root)

    @contextmanager
    def _served(self) -> Iterator[str]:
        """Yield the address of the service, which is open to everybody."""
        command = _cracks(self._workspace, "serve", "--open", "--port", "0", "--json")
        with self.scratch.started("cracks-serve", command, self._workspace.paths.root) as started:
            yield started.wait_until(_told_url, "its address", STARTED_WITHIN)

    @contextmanager
    def _served_by_mlflow(self) -> Iterator[str]:
        """Yield the address at which MLflow's own server takes images for the champion."""
        paths, port = self._workspace.paths, free_port()
        model = f"models:/{load_params(paths.params).register_.model_name}@champion"
        options = ("-m", model, "--env-manager", "local", "--port", port)
        command = tool("mlflow", "models", "serve", *options)
        tracking = f"sqlite:///{paths.local_tracking / 'mlflow.db'}"
        url = f"http://127.0.0.1:{port}"
        with self.scratch.started(
            "mlflow", command, paths.root, MLFLOW_TRACKING_URI=tracking
        ) as server:
            server.wait_until_up(f"{url}/ping", MLFLOW_STARTED_WITHIN)
            yield f"{url}/invocations"

    @cached_property
    def _contents(self) -> list[bytes]:
        shard = shard_files(self._workspace.paths.images)[0]
        return read_contents(shard, list(range(min(IMAGES, count_rows(shard)))))

    @cached_property
    def _images(self) -> Path:
        return self._folder("images", self._contents)

    @cached_property
    def _as_json(self) -> Path:
        """The same images as MLflow's server takes them: pixels, as numbers, as text."""
        pixels = [decode(content)[0] for content in self._contents[:MLFLOW_IMAGES]]
        bodies = [json.dumps({"inputs": [image.tolist()]}).encode() for image in pixels]
        return self._folder("pixels", bodies)

    def _folder(self, name: str, contents: Sequence[bytes]) -> Path:
        folder = self.scratch.temporary / name
        folder.mkdir()
        for number, content in enumerate(contents):
            (folder / str(number)).write_bytes(content)
        return folder

    def _photograph(self) -> bytes:
        """Return a JPEG of 12 megapixels, laid of the photographs' patches."""
        size = load_params(self._workspace.paths.params).ingest.patch_size
        photo = Image.new("RGB", (WIDTH, HEIGHT))
        patches = [Image.fromarray(decode(content)[0]) for content in self._contents]
        places = [(x, y) for y in range(0, HEIGHT, size) for x in range(0, WIDTH, size)]
        for number, place in enumerate(places):
            photo.paste(patches[number % len(patches)], place)
        file = self.scratch.temporary / "photograph.jpg"
        photo.save(file, quality=92)
        return file.read_bytes()

    # --- single runs --------------------------------------------------------------------------

    def _load(
        self, url: str, folder: Path, content_type: str = JPEG, seconds: int = SECONDS
    ) -> dict[str, Any]:
        self.scratch.tell(f"{CLIENTS} clients of {url}")
        given = (url, folder, content_type, CLIENTS, seconds)
        root = self._workspace.paths.root
        found = self.scratch.run_module("benchmarks.load_clients", *given, cwd=root).found
        if not found["statuses"].get("200"):
            raise MeasurementFailed(f"{url} predicts nothing: {found['statuses']}")
        return found

    def _bare_loop(self) -> dict[str, Any]:
        self.scratch.tell("the bare loop")
        paths = self._workspace.paths
        batch_size = load_params(paths.params).featurize.batch_size
        given = (paths.images, paths.bundle / NETWORK, batch_size)
        return self.scratch.run_script("bare_loop.py", *given).found


def _cracks(workspace: Workspace, *arguments: str | Path) -> list[str]:
    return tool("cracks", "-C", workspace.paths.root, *arguments)


def _told_url(said: str) -> str:
    """Return the address in what `cracks serve --json` has printed so far, or nothing."""
    lines = [line for line in said.splitlines() if line.startswith('{"url"')]
    return str(json.loads(lines[0])["url"]) if lines else ""


def _p99(runs: Sequence[Mapping[str, Any]]) -> float:
    """Return the 99th percentile of the latencies, in the middle one of the runs."""
    return float(statistics.median(run["milliseconds"]["p99"] for run in runs))


def _post(url: str, body: bytes, content_type: str = JPEG) -> requests.Response:
    headers = {"Content-Type": content_type, "Accept": JSON}
    response = requests.post(url, body, headers=headers, timeout=120)
    if response.status_code != 200:
        raise MeasurementFailed(f"{url}: status {response.status_code}: {response.text[:200]}")
    return response
