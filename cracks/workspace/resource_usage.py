"""Watch what a stage takes of the machine: seconds, processor, memory."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cracks.workspace.tables import write_csv

#: Seconds between two looks.
INTERVAL = 1.0

Sample = dict[str, float]


@contextmanager
def watched(file: Path) -> Iterator[None]:
    """Look at this process every second while the block runs; write what was seen to `file`.

    A block that fails writes nothing: what is known is of the last one that ended well.

    A row a look: seconds since the start, cpu_percent (of one core; more with several), memory_mb.
    """
    import psutil

    process, ended, start = psutil.Process(os.getpid()), threading.Event(), time.monotonic()
    samples: list[Sample] = []

    def poll() -> None:
        samples.append(
            {
                "seconds": round(time.monotonic() - start, 2),
                "cpu_percent": process.cpu_percent(),
                "memory_mb": round(process.memory_info().rss / 2**20, 1),
            }
        )

    def watch() -> None:
        while not ended.wait(INTERVAL):
            poll()

    process.cpu_percent()  # counts from here on
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
    poll()
    # What a stage found must not be lost for this.
    with suppress(OSError):
        write_csv(samples, file)
