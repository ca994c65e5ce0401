"""`python -m benchmarks.load_clients PLAN.json`: ask a service as many clients do, print what came.

The clients are locust's, of the kind that takes less of the cores that they share with the service.
Locust rounds the times that it keeps, so here they are kept as they are.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import count, cycle
from pathlib import Path
from typing import Any

import gevent
import numpy as np
from locust import FastHttpUser, task
from locust.env import Environment

from benchmarks.load import Plan

#: Seconds that a response may take before it counts as lost.
TIMEOUT = 120.0

#: Clients that are started in a second, at most.
SPAWN_RATE = 100

#: Among the statuses: a response that never came, and a request whose client was not free in time.
LOST, UNSENT = "lost", "unsent"

#: Of scores from the very same network; the last bits of a batch may differ.
TOLERANCE = 1e-4


@dataclass
class Seen:
    """What came of the requests."""

    check: dict[str, list[float]] | None
    statuses: Counter[str] = field(default_factory=Counter)
    milliseconds: list[float] = field(default_factory=list)  # of those answered with 200
    mixed: int = 0  # predictions whose score is not that of the version they name
    versions: Counter[str] = field(default_factory=Counter)

    def on_request(
        self, response_time: float, response: Any, context: dict[str, int], **_: Any
    ) -> None:
        """Count what locust tells of a response: milliseconds, and what was asked."""
        self.statuses[str(response.status_code or LOST)] += 1
        if response.status_code == 200:
            self.milliseconds.append(response_time)
            if self.check is not None:
                self._compare(self.check, context["body"], response.content)

    def _compare(self, check: dict[str, list[float]], body: int, content: bytes) -> None:
        """Compare the score with the one that the version named beside it gives."""
        self.mixed += 1  # until it is known to be right
        (prediction,) = json.loads(content)["predictions"]
        version = prediction["model_version"]
        self.versions[version] += 1
        if version in check and abs(prediction["score"] - check[version][body]) <= TOLERANCE:
            self.mixed -= 1

    def summary(self, seconds: float) -> dict[str, Any]:
        """Return images a second, latencies in milliseconds, and how often each status came."""
        p50, p99 = np.percentile(self.milliseconds or [np.nan], [50, 99]).tolist()
        return {
            "seconds": seconds,
            "images_per_s": len(self.milliseconds) / seconds,
            "statuses": dict(self.statuses),
            "milliseconds": {"p50": p50, "p99": p99},
            "mixed": self.mixed,
            "versions": dict(self.versions),
        }


def client_class(plan: Plan, statuses: Counter[str]) -> type[FastHttpUser]:
    """Return the class of the clients that together send the bodies of the plan in turn."""
    bodies = cycle(enumerate(file.read_bytes() for file in plan.bodies))
    headers = {"Content-Type": plan.content_type}
    interval = plan.clients / plan.per_second if plan.per_second else 0.0
    starts = count(time.perf_counter(), interval / plan.clients)

    class Client(FastHttpUser):
        host = plan.url
        network_timeout = connection_timeout = TIMEOUT

        def on_start(self) -> None:
            self.due = next(starts)

        @task
        def send(self) -> None:
            number, body = next(bodies)
            response = self.client.post(
                "",
                data=body,  # type: ignore[arg-type] # bytes go as they are
                headers=headers,
                context={"body": number},
            )
            if not response.status_code:
                gevent.sleep(0.05)

        def wait_time(self) -> float:
            """Return the seconds until the next request is due; one that is overdue is not sent."""
            if not interval:
                return 0.0
            self.due += interval
            while self.due < (now := time.perf_counter()):
                statuses[UNSENT] += 1
                self.due += interval
            return self.due - now

    return Client


def load(plan: Plan) -> dict[str, Any]:
    """Carry out a plan; see `Seen.summary`."""
    seen = Seen(plan.check)
    environment = Environment(user_classes=[client_class(plan, seen.statuses)])
    runner = environment.create_local_runner()
    runner.start(plan.clients, min(plan.clients, SPAWN_RATE))
    while runner.user_count < plan.clients:
        gevent.sleep(0.05)
    gevent.sleep(plan.warm_up)
    seen.statuses.clear()
    environment.events.request.add_listener(seen.on_request)  # type: ignore[no-untyped-call]
    start = time.perf_counter()
    while time.perf_counter() - start < plan.seconds and not (plan.until and plan.until.exists()):
        gevent.sleep(0.05)
    found = seen.summary(time.perf_counter() - start)
    runner.quit()
    return found


def main(file: str) -> None:
    """Carry out the plan in a file."""
    print(json.dumps(load(Plan.model_validate_json(Path(file).read_bytes()))))


if __name__ == "__main__":
    main(*sys.argv[1:])
