"""`python -m benchmarks.load_clients URL FOLDER CONTENT_TYPE CLIENTS SECONDS`: load a service.

So many clients send the files of the folder in turn, each as soon as it has its response. The last
line is JSON: images a second, latencies, and how often each status came.

The clients are locust's, of the kind that takes less of the cores that they share with the service.
Locust rounds the times that it keeps, so here they are kept as they are. It makes the sockets of
every process that imports it those of gevent, so it has a process of its own.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import gevent
import numpy as np
from locust import FastHttpUser, constant, task
from locust.env import Environment

#: Seconds before it counts, and that a response may take before it counts as lost.
WARM_UP, TIMEOUT = 1.0, 120.0

#: Clients that are started in a second, at most.
SPAWN_RATE = 100

#: Among the statuses: a response that never came.
LOST = "lost"


def client_class(url: str, bodies: Sequence[bytes], content_type: str) -> type[FastHttpUser]:
    """Return the class of the clients that together send the bodies in turn."""
    following = cycle(bodies)

    class Client(FastHttpUser):
        host = url
        network_timeout = connection_timeout = TIMEOUT
        wait_time = constant(0)

        @task
        def send(self) -> None:
            response = self.client.post(
                "",
                data=next(following),  # type: ignore[arg-type] # bytes go as they are
                headers={"Content-Type": content_type},
            )
            if not response.status_code:
                gevent.sleep(0.05)

    return Client


def load(client: type[FastHttpUser], clients: int, seconds: float) -> dict[str, Any]:
    """Let so many clients send for so long, and count what comes of it.

    Returns:
        `images_per_s` and `milliseconds` (p50, p99) of responses with 200, and `statuses`.
    """
    statuses: Counter[str] = Counter()
    milliseconds: list[float] = []

    def on_request(response_time: float, response: Any, **_: Any) -> None:
        statuses[str(response.status_code or LOST)] += 1
        if response.status_code == 200:
            milliseconds.append(response_time)

    environment = Environment(user_classes=[client])
    runner = environment.create_local_runner()
    runner.start(clients, min(clients, SPAWN_RATE))
    while runner.user_count < clients:
        gevent.sleep(0.05)
    gevent.sleep(WARM_UP)
    environment.events.request.add_listener(on_request)  # type: ignore[no-untyped-call]
    start = time.perf_counter()
    gevent.sleep(seconds)
    taken = time.perf_counter() - start
    p50, p99 = np.percentile(milliseconds or [np.nan], [50, 99]).tolist()
    found = {
        "seconds": taken,
        "images_per_s": len(milliseconds) / taken,
        "statuses": dict(statuses),
        "milliseconds": {"p50": p50, "p99": p99},
    }
    runner.quit()
    return found


def main(url: str, folder: str, content_type: str, clients: str, seconds: str) -> None:
    """Load and print."""
    bodies = [file.read_bytes() for file in sorted(Path(folder).iterdir())]
    print(json.dumps(load(client_class(url, bodies, content_type), int(clients), float(seconds))))


if __name__ == "__main__":
    main(*sys.argv[1:])
