"""`python -m benchmarks.swapping SWAPS PID FINISHED`: change the champion again and again.

In one process, because the command line would spend most of the time on its start. It runs in a
workspace with two versions, prints seconds and the memory of the service as JSON, and writes the
file FINISHED at its end.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

from cracks.system.environment import apply_environment_defaults
from cracks.workspace.params_file import load_params
from cracks.workspace.paths import Paths
from tasks.promote import promote, rollback

#: Swaps after which the service has seen both versions several times; and of how many the memory
#: is the median of, because now and then the old network is still there when it is looked at.
SETTLED, SAMPLE = 10, 20


def swap(swaps: int, service: int) -> dict[str, float]:
    """Promote version 2, roll back, and so on; watch the memory of a process and its children.

    Args:
        swaps: promotions and rollbacks, together.
        service: the number of the process.
    """
    paths = Paths(Path.cwd())
    params = load_params(paths.params)
    seconds, megabytes = [], []
    for number in range(swaps):
        start = time.perf_counter()
        if number % 2:
            rollback(params, paths, None, why="for the benchmark")
        else:
            promote(params, paths, "2", why="for the benchmark")
        seconds.append(time.perf_counter() - start)
        megabytes.append(memory_of(service))
    settled = megabytes[SETTLED:] or megabytes
    return {
        "seconds": statistics.median(seconds),
        "megabytes_before": statistics.median(settled[:SAMPLE]),
        "megabytes_after": statistics.median(settled[-SAMPLE:]),
        "megabytes_at_most": max(settled),
    }


def memory_of(process: int) -> float:
    """Return the megabytes that a process and its children hold."""
    import psutil

    first = psutil.Process(process)
    processes = [first, *first.children(recursive=True)]
    return float(sum(one.memory_info().rss for one in processes) / 1024**2)


def main(swaps: str, service: str, finished: str) -> None:
    """Swap and print."""
    apply_environment_defaults()
    try:
        print(json.dumps(swap(int(swaps), int(service))))
    finally:
        Path(finished).touch()


if __name__ == "__main__":
    main(*sys.argv[1:])
