"""The same work on a real Dask cluster with real S3 storage, whatever happens to its processes.

By default it is small. CRACKS_CLUSTER_DATA (a .zip), CRACKS_CLUSTER_KILLS (of workers) and
CRACKS_CLUSTER_PATCHES (of the test of memory) make it as large as docs/performance.md tells of.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
from damaged import flip
from dask_cluster import DaskCluster, kill
from PIL import Image
from processes import CHECKOUT, TOOLS, StartProcess, free_port, wait_until
from s3 import Response, S3Proxy, S3Server, slow_down, use_s3

from cracks.cluster.dispatch import compute_features
from cracks.dataset.shards import ShardRow, ShardWriter, count_rows, shard_files
from cracks.errors import ClusterError
from cracks.training.features.compute import update_features
from cracks.workspace.params_file import load_params
from tests.integration.bundles import service_folder
from tests.integration.conftest import RunCracks
from tests.unit.builders import encoded

pytestmark = pytest.mark.slow

SHARED = Path(os.environ.get("CRACKS_SHARED", CHECKOUT.parent / "shared"))
DATA = Path(os.environ.get("CRACKS_CLUSTER_DATA", SHARED / "data" / "metu-2k.zip"))
KILLS = int(os.environ.get("CRACKS_CLUSTER_KILLS", "2"))
PATCHES = int(os.environ.get("CRACKS_CLUSTER_PATCHES", "4096"))

#: Whether it was asked for more than the suite has time for.
LARGE = "CRACKS_CLUSTER_DATA" in os.environ

SIZE, SHARD_ROWS = 227, 64

#: Seconds that each shard takes to be read where a test wants time to do harm.
SLOW = 0.15 * KILLS


@pytest.fixture(scope="module")
def patches() -> list[bytes]:
    """Real photographs, or noise where there are none."""
    if DATA.is_file():
        with zipfile.ZipFile(DATA) as archive:
            return [archive.read(name) for name in archive.namelist() if name.endswith(".jpg")]
    rng = np.random.default_rng(7)
    return [_jpeg(rng.integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8)) for _ in range(600)]


def _jpeg(pixels: Any) -> bytes:
    return encoded(Image.fromarray(pixels), "JPEG")


def write_shards(patches: Iterable[bytes], folder: Path, rows: int) -> list[Path]:
    writer = ShardWriter(folder, rows)
    for number, content in enumerate(patches):
        id_ = hashlib.sha256(content + str(number).encode()).hexdigest()
        writer.add(ShardRow(id_, "crack", f"{number}.jpg", content))
    writer.flush()
    return shard_files(folder)


@pytest.fixture(scope="module")
def featurizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small convolution with random weights, whose last bits would show any other arithmetic."""
    import openvino
    from openvino import opset13

    weights = np.random.default_rng(3).normal(0, 0.1, (16, 3, 7, 7)).astype(np.float32)
    pixels = opset13.parameter([-1, SIZE, SIZE, 3], np.uint8, name="image")
    planes = opset13.transpose(opset13.convert(pixels, "f32"), opset13.constant([0, 3, 1, 2]))
    convolved = opset13.convolution(
        planes, opset13.constant(weights), [4, 4], [0, 0], [0, 0], [1, 1]
    )
    features = opset13.reduce_mean(
        opset13.relu(convolved), opset13.constant([2, 3]), keep_dims=False
    )
    network = openvino.Model([features], [pixels])
    network.outputs[0].get_tensor().set_names({"features"})
    folder = tmp_path_factory.mktemp("featurizer")
    openvino.save_model(network, folder / "network.xml", compress_to_fp16=False)
    return folder


@dataclass(frozen=True)
class Featurizing:
    """Shards and a network, whose features are computed where the environment says."""

    shards: list[Path]
    featurizer: Path

    def compute(self, folder: Path, shards: Sequence[Path] = ()) -> dict[str, bytes]:
        """Compute the features of all the shards, or of these; return the files."""
        params = load_params(CHECKOUT / "params.yaml")
        update_features(params, shards or self.shards, self.featurizer, folder, compute_features)
        return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def work(
    patches: list[bytes], featurizer: Path, tmp_path_factory: pytest.TempPathFactory
) -> Featurizing:
    images = tmp_path_factory.mktemp("images")
    return Featurizing(write_shards(patches, images, SHARD_ROWS), featurizer)


@pytest.fixture(scope="module")
def local(work: Featurizing, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What this machine alone computes."""
    return work.compute(tmp_path_factory.mktemp("local"))


@pytest.fixture(scope="module")
def proxy(s3_server: S3Server) -> Iterator[S3Proxy]:
    with S3Proxy(s3_server.url) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def cluster(
    start_for_module: StartProcess,
    s3_server: S3Server,
    proxy: S3Proxy,
    tmp_path_factory: pytest.TempPathFactory,
) -> DaskCluster:
    """Two workers that see S3 through the proxy."""
    variables = s3_server.variables | {"AWS_ENDPOINT_URL": proxy.url}
    cluster = DaskCluster(start_for_module, tmp_path_factory.mktemp("cluster"), variables)
    cluster.start_scheduler()
    cluster.add_worker()
    cluster.add_worker()
    cluster.wait_for_workers(2)
    return cluster


@pytest.fixture
def bucket(s3_server: S3Server) -> Path:
    return s3_server.new_bucket()


@pytest.fixture
def on_cluster(
    cluster: DaskCluster,
    proxy: S3Proxy,
    s3_server: S3Server,
    bucket: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[dict[str, str]]:
    """The variables of a process that works on the cluster, set for this one too.

    This one sees S3 without the proxy, which so counts what the workers ask for alone.
    """
    for _ in range(len(cluster.living), 2):
        cluster.add_worker()
    proxy.spoil = None
    proxy.asked.clear()
    variables = s3_server.variables | {
        "DASK_SCHEDULER_ADDRESS": cluster.address,
        "CRACKS_CLUSTER_STORE": f"s3://{bucket.name}/store",
    }
    use_s3(variables, monkeypatch)
    yield variables
    proxy.spoil = None


def written(proxy: S3Proxy, kind: str) -> Counter[str]:
    """Return how often the workers have written each result."""
    puts = (line.split()[1] for line in proxy.asked if line.startswith("PUT"))
    return Counter(path for path in puts if f"/store/{kind}/" in path)


def slowly(request: str, response: Response) -> Response:
    if request.startswith("GET") and "/files/md5/" in request:
        time.sleep(SLOW)
    return response


@pytest.mark.usefixtures("on_cluster")
def test_features_of_shards_in_s3_are_those_of_this_machine_and_the_client_sends_none(
    work: Featurizing,
    local: dict[str, bytes],
    proxy: S3Proxy,
    bucket: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    cluster: DaskCluster,
) -> None:
    for shard in work.shards:  # as `dvc push` lays them down
        digest = hashlib.md5(shard.read_bytes()).hexdigest()
        place = bucket / "store" / "files" / "md5" / digest[:2] / digest[2:]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(shard.read_bytes())
        place.chmod(0o400)  # root or not: whoever wrote it again would show in the time
    before = {file: file.stat().st_mtime_ns for file in (bucket / "store").rglob("files/*/*/*")}
    assert work.compute(tmp_path / "features") == local
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert set(written(proxy, "features").values()) == {1}
    assert len(written(proxy, "features")) == len(work.shards)
    said = capsys.readouterr().err
    link = said.split("dashboard ")[1].split()[0]
    assert "2 workers, 2 threads" in said
    assert cluster.is_watched_at(link)

    # Another desk with the same shards: everything is found again.
    proxy.asked.clear()
    assert work.compute(tmp_path / "elsewhere") == local
    assert not written(proxy, "features")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return service_folder(tmp_path_factory.mktemp("service"), size=SIZE, novelty=True)


@pytest.fixture
def cracks(cracks: RunCracks, service: Path) -> RunCracks:
    return partial(cracks, service)


def predictions(file: Path) -> list[dict[str, Any]]:
    """Return the rows without the time of the prediction."""
    rows = pq.read_table(file).to_pylist()
    return [row | {"prediction_id": row["prediction_id"].split("-")[:-1]} for row in rows]


def test_predictions_for_a_prefix_are_those_of_this_machine_in_the_same_order(
    on_cluster: dict[str, str],
    cracks: RunCracks,
    patches: list[bytes],
    s3_server: S3Server,
    bucket: Path,
    tmp_path: Path,
) -> None:
    photographs = bucket / "photographs"
    # A little more than one piece of the real ones; all where that is asked for. In folders,
    # for rclone reads the whole folder for each object of it.
    for number, content in enumerate(patches if LARGE else patches[:1100]):
        file = photographs / f"pier-{number // 500:02}" / f"{number:05}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    (photographs / "pier-00" / "00007.jpg").write_bytes(b"no image")
    count = len(list(photographs.rglob("*.jpg")))
    arguments = ("predict", f"s3://{bucket.name}/photographs", "--json", "--out")
    here = cracks(*arguments, tmp_path / "here.parquet", **s3_server.variables)
    there = cracks(*arguments, tmp_path / "there.parquet", **on_cluster)
    assert (here.exit_code, there.exit_code) == (0, 0), there.log
    summary = json.loads(there.stdout)
    assert (summary["answers"], summary["unreadable"]) == (count - 1, 1)
    assert predictions(tmp_path / "there.parquet") == predictions(tmp_path / "here.parquet")
    lists = [tmp_path / f"{name}.unreadable.csv" for name in ("here", "there")]
    assert lists[0].read_bytes() == lists[1].read_bytes()
    # What was taken does not stay.
    assert not [file for file in (bucket / "store").rglob("answers/*/*") if file.is_file()]


def test_inspections_of_a_folder_are_those_of_this_machine(
    on_cluster: dict[str, str], cracks: RunCracks, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(10):  # two pieces
        pixels = np.random.default_rng(number).integers(0, 255, (500, 700, 3), dtype=np.uint8)
        (photos / f"pier-{number}.jpg").write_bytes(_jpeg(pixels))
    (photos / "pier-3.jpg").write_bytes(b"no image")
    here = cracks("inspect", photos, "--out", tmp_path / "here", "--json")
    there = cracks("inspect", photos, "--out", tmp_path / "there", "--json", **on_cluster)
    assert (here.exit_code, there.exit_code) == (0, 0), there.log
    assert json.loads(there.stdout)["unreadable"] == 1
    files = {
        place: {
            file.relative_to(tmp_path / place): file.read_bytes()
            for file in (tmp_path / place / "photos").rglob("*")
            if file.is_file() and file.name != "inspection.json"  # says when, and how long it took
        }
        for place in ("here", "there")
    }
    assert len(files["here"]) >= 9 * 3
    assert files["here"] == files["there"]


@pytest.mark.usefixtures("on_cluster")
def test_killed_workers_and_a_killed_scheduler_lose_nothing_and_double_nothing_but_what_they_had(
    cluster: DaskCluster,
    work: Featurizing,
    local: dict[str, bytes],
    proxy: S3Proxy,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    proxy.spoil = slowly
    # As long as the killing lasts: one after the other, and the scheduler in the middle.
    dice = random.Random(11)
    done, killed = threading.Event(), []

    def harm() -> None:
        wait_until(lambda: written(proxy, "features"), "the first result", timeout=60)
        for number in range(KILLS):
            if done.wait(dice.uniform(0.2, 1.5)):
                return
            if number == KILLS // 2:
                kill(cluster.scheduler)
                cluster.start_scheduler()
                killed.append("scheduler")
            if cluster.living:
                kill(dice.choice(cluster.living))
                killed.append("worker")
            while len(cluster.living) < 2:
                cluster.add_worker()

    harming = threading.Thread(target=harm)
    harming.start()
    try:
        assert work.compute(tmp_path / "features") == local
    finally:
        done.set()
        harming.join()
    assert Counter(killed) == {"worker": KILLS, "scheduler": 1}
    counted = written(proxy, "features")
    assert len(counted) == len(work.shards)
    # What was in flight when somebody died may be computed once more: 2 pieces a thread.
    twice = sum(count - 1 for count in counted.values())
    assert twice <= 4 * len(killed)
    with capsys.disabled():
        print(f"\n  {len(work.shards)} shards, {Counter(killed)}, {twice} written twice")


@pytest.mark.usefixtures("on_cluster")
def test_a_worker_that_comes_later_helps(
    cluster: DaskCluster,
    work: Featurizing,
    local: dict[str, bytes],
    proxy: S3Proxy,
    tmp_path: Path,
) -> None:
    proxy.spoil = slowly
    kill(cluster.living[0])
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work.compute, tmp_path / "features")
        wait_until(lambda: written(proxy, "features"), "the first result", timeout=60)
        later = cluster.add_worker()
    assert working.result() == local
    assert list((cluster.place / "workers").rglob("network.xml"))
    assert later.exit_code is None


@pytest.mark.usefixtures("on_cluster")
def test_storage_that_returns_503_for_a_while_only_delays(
    work: Featurizing, local: dict[str, bytes], proxy: S3Proxy, tmp_path: Path
) -> None:
    dice, refused = random.Random(5), Counter[str]()

    def unwilling(request: str, response: Response) -> Response:
        path = request.split()[1]
        if ("/files/md5/" in path or "/features/" in path) and dice.random() < 0.4:
            refused[path] += 1
            return slow_down()
        return response

    proxy.spoil = unwilling
    found = work.compute(tmp_path / "features", work.shards[:12])
    del found["index.json"]  # of all the shards there
    assert found == {name: local[name] for name in found}
    assert sum(refused.values()) > 5


@pytest.mark.usefixtures("on_cluster")
def test_a_shard_that_always_fails_is_named_and_the_others_are_done(
    work: Featurizing, tmp_path: Path
) -> None:
    given = [Path(shutil.copy(shard, tmp_path)) for shard in work.shards[:6]]
    flip(given[2], bits=0xFF)  # rotted before anybody looked; Parquet's checksum tells
    with pytest.raises(ClusterError, match=r"1 of 6 pieces failed .* part-00002\.parquet") as found:
        work.compute(tmp_path / "features", given)
    assert "\n" not in str(found.value)
    kept = {file.name for file in (tmp_path / "features").glob("*.npy")}
    assert kept == {f"part-0000{number}.npy" for number in (0, 1, 3, 4, 5)}


def test_ctrl_c_cancels_and_the_next_run_computes_only_what_is_missing(
    on_cluster: dict[str, str],
    cluster: DaskCluster,
    cracks: RunCracks,
    proxy: S3Proxy,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    content = _jpeg(np.full((SIZE, SIZE, 3), 90, np.uint8))
    for number in range(6 * 1024):
        (folder / f"{number:05}.jpg").write_bytes(content)
    out = tmp_path / "answers.parquet"
    arguments = ("predict", folder, "--out", out, "--json")
    stopped = cracks(*arguments, wait=False, **on_cluster)
    stopped.wait_until(lambda: written(proxy, "answers"), "the first result", timeout=120)
    stopped.interrupt()
    assert stopped.wait(30) == 130
    assert "Traceback" not in stopped.stderr
    assert stopped.stderr.strip().splitlines()[-1].startswith("Interrupted.")
    time.sleep(5)  # what was being computed is written; what waited is not
    assert 0 < len(written(proxy, "answers")) < 6
    again = cracks(*arguments, **on_cluster)
    assert again.exit_code == 0, again.log
    assert json.loads(again.stdout)["answers"] == 6 * 1024
    assert set(written(proxy, "answers").values()) == {1}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"DASK_SCHEDULER_ADDRESS": f"tcp://127.0.0.1:{free_port()}"},
            "No Dask scheduler responds",
        ),
        ({"CRACKS_CLUSTER_STORE": "s3://nowhere-at-all/x"}, "there is no bucket nowhere-at-all"),
    ],
)
def test_a_cluster_that_cannot_be_used_is_refused_in_one_line(
    on_cluster: dict[str, str],
    cracks: RunCracks,
    tmp_path: Path,
    changes: dict[str, str],
    said: str,
) -> None:
    refused_in_one_line(cracks, tmp_path, {**on_cluster, **changes}, said)


def refused_in_one_line(
    cracks: RunCracks, place: Path, variables: dict[str, str], said: str
) -> None:
    (place / "1.jpg").write_bytes(_jpeg(np.zeros((SIZE, SIZE, 3), np.uint8)))
    process = cracks("predict", place / "1.jpg", "--out", place / "answers.parquet", **variables)
    assert process.exit_code == 1, process.log
    assert process.stdout == ""
    (line,) = [line for line in process.stderr.splitlines() if not line.startswith("  ")]
    assert line.startswith("error: ")
    assert said in line


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"PYTHONPATH": "{fake}:" + str(CHECKOUT)}, "openvino 2025.1.0 instead of 2026."),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "Unable to locate credentials"),
    ],
)
def test_a_worker_that_would_do_it_otherwise_or_cannot_is_named_before_work_starts(
    start: StartProcess,
    s3_server: S3Server,
    on_cluster: dict[str, str],
    cracks: RunCracks,
    tmp_path: Path,
    bucket: Path,
    variables: dict[str, str],
    said: str,
) -> None:
    fake = tmp_path / "fake" / "openvino-2025.1.0.dist-info"
    fake.mkdir(parents=True)
    (fake / "METADATA").write_text("Metadata-Version: 2.1\nName: openvino\nVersion: 2025.1.0\n")
    other = DaskCluster(start, tmp_path, s3_server.variables)
    other.start_scheduler()
    given = {name: value.format(fake=tmp_path / "fake") for name, value in variables.items()}
    other.add_worker(**given)
    other.wait_for_workers(1)
    asked = {**on_cluster, "DASK_SCHEDULER_ADDRESS": other.address}
    refused_in_one_line(cracks, tmp_path, asked, said)
    assert not list((bucket / "store").rglob("answers/*/*"))


def test_memory_does_not_grow_with_the_number_of_patches(
    on_cluster: dict[str, str],
    cluster: DaskCluster,
    start: StartProcess,
    patches: list[bytes],
    featurizer: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = 2048 if PATCHES >= 100_000 else 256
    repeated = (
        # Bytes after the end, which no decoder reads, make each another file.
        patches[number % len(patches)] + f"repetition {number // len(patches)}".encode()
        for number in range(PATCHES)
    )
    (tmp_path / "images").mkdir()
    shards = write_shards(repeated, tmp_path / "images", rows)
    script = tmp_path / "featurize.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\n"
        "from cracks.cluster.dispatch import compute_features\n"
        "from cracks.training.features.compute import update_features\n"
        "from cracks.workspace.params_file import load_params\n"
        "from cracks.dataset.shards import shard_files\n"
        "params, images, featurizer, out = map(Path, sys.argv[1:])\n"
        "given = load_params(params), shard_files(images), featurizer, out\n"
        "update_features(*given, compute_features)\n"
    )
    arguments = (CHECKOUT / "params.yaml", tmp_path / "images", featurizer, tmp_path / "features")
    begin = time.monotonic()
    client = start([TOOLS / "python", script, *arguments], variables=on_cluster, name="client")
    watched = {"client": client, "scheduler": cluster.scheduler}
    watched |= {f"worker {n}": worker for n, worker in enumerate(cluster.living)}
    seen: dict[str, list[float]] = {name: [] for name in watched}
    while client.exit_code is None:
        for name, process in watched.items():
            try:
                seen[name].append(psutil.Process(process.pid).memory_info().rss / 2**20)
            except psutil.Error:
                continue
        time.sleep(0.25)
    assert client.wait(1) == 0, client.log
    seconds = time.monotonic() - begin
    assert sum(map(count_rows, shards)) == PATCHES
    assert len(list((tmp_path / "features").glob("*.npy"))) == -(-PATCHES // rows)
    for name, memory in seen.items():
        # All is loaded after the first third.
        first, last = memory[len(memory) // 3 :][: len(memory) // 3], memory[-len(memory) // 3 :]
        assert max(last) < 1.25 * max(first) + 64, (name, memory)
        with capsys.disabled():
            print(
                f"\n  {PATCHES:,} patches in {seconds:.0f} s: {name} {max(first):.0f} MB in the "
                f"second third, {max(last):.0f} MB in the last",
                end="",
            )
