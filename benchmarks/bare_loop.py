"""The plainest fast loop from stored photographs to scores; run by its path, it prints its speed.

Of one shard: the JPEG bytes in memory, OpenCV decodes them in threads, OpenVINO computes several
batches at a time. It checks, keeps and reports nothing, and it uses nothing of this project, so
that what it needs is the least there is to need.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import openvino
import pyarrow.parquet as pq

#: Batches that are decoded ahead of the network, and images before the clock counts.
AHEAD, WARM_UP = 16, 64


def contents_of(shard: Path) -> list[bytes]:
    """Return the JPEG bytes of a shard."""
    return [
        image["bytes"] for image in pq.read_table(shard, columns=["image"])["image"].to_pylist()
    ]


def decoded(contents: list[bytes]) -> Any:
    """Return a batch, uint8 (n, height, width, 3)."""
    arrays = (np.frombuffer(content, np.uint8) for content in contents)
    images: list[Any] = [cv2.imdecode(array, cv2.IMREAD_COLOR_RGB) for array in arrays]
    return np.stack(images)


def batches(contents: list[bytes], size: int, pool: ThreadPoolExecutor) -> Iterator[Any]:
    """Yield decoded batches in order, some of them decoded ahead."""
    waiting: deque[Future[Any]] = deque()
    for start in range(0, len(contents), size):
        waiting.append(pool.submit(decoded, contents[start : start + size]))
        if len(waiting) == AHEAD:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def computed(network: openvino.CompiledModel, given: Iterable[Any]) -> Iterator[Any]:
    """Yield the first output for each batch in order; several are computed at a time."""
    count = 2 * network.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
    idle = [network.create_infer_request() for _ in range(count)]
    running: deque[Any] = deque()
    for batch in given:
        if not idle:
            idle.append(running.popleft())
            idle[-1].wait()
            yield np.array(idle[-1].get_output_tensor(0).data)
        running.append(idle.pop())
        running[-1].start_async({0: batch})
    for request in running:
        request.wait()
        yield np.array(request.get_output_tensor(0).data)


def main(folder: str, model: str, batch_size: str) -> None:
    """Compute the outputs for the first shard; print how many images a second that is as JSON."""
    settings = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "THROUGHPUT"}
    network = openvino.Core().compile_model(model, "CPU", settings)
    shard = min(Path(folder).glob("*.parquet"))
    cv2.setNumThreads(1)
    with ThreadPoolExecutor(os.cpu_count()) as pool:

        def run(contents: list[bytes]) -> int:
            given = batches(contents, int(batch_size), pool)
            return sum(len(rows) for rows in list(computed(network, given)))

        run(contents_of(shard)[:WARM_UP])
        start = time.perf_counter()
        images = run(contents_of(shard))
        seconds = time.perf_counter() - start
    print(json.dumps({"images": images, "images_per_s": images / seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
