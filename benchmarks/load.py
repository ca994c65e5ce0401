"""`python -m benchmarks.load PLAN.json`: ask a service as many clients do, and print what came.

It runs in a process of its own and does little for a request, because it shares the cores with the
service that it measures: bodies are made before, answers are read and not parsed, unless `check`
says what they must be.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from pydantic import BaseModel, ConfigDict

#: Seconds that an answer may take before it counts as lost.
PATIENCE = 120.0

#: Among the statuses: an answer that never came, and a request that found no connection free.
LOST, UNSENT = "lost", "unsent"

#: Of scores from the very same network; the last bits of a batch may differ.
TOLERANCE = 1e-4


class Plan(BaseModel):
    """What to ask, how often, and for how long."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str
    content_type: str
    bodies: list[Path]  # files, asked in turn
    clients: int  # connections, each of which waits for its answer
    seconds: float
    warm_up: float = 1.0  # seconds before it counts
    per_second: float | None = None  # requests that begin, whether earlier ones are answered or not
    #: Of each version, the score that it must give for each of the bodies.
    check: dict[str, list[float]] | None = None
    #: The file whose existence ends it before the time is over.
    until: Path | None = None


@dataclass
class Seen:
    """What came of the requests."""

    statuses: Counter[str] = field(default_factory=Counter)
    milliseconds: list[float] = field(default_factory=list)  # of those answered with 200
    refused_milliseconds: list[float] = field(default_factory=list)
    mixed: int = 0  # answers whose score is not that of the version they name
    versions: Counter[str] = field(default_factory=Counter)


class Connection:
    """One connection to the service, opened again when the service has closed it."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Return the status and the body of the answer."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            content = await reader.readexactly(_length(head))
        except BaseException:
            self.close()
            raise
        if b"connection: close" in head.lower():
            self.close()
        return int(head[9:12]), content

    def close(self) -> None:
        """Close it."""
        if self._streams:
            self._streams[1].close()
        self._streams = None


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise ConnectionError("an answer that does not say how long it is")


class Load:
    """Clients that ask until the time is over."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._requests = [_request(plan, file.read_bytes()) for file in plan.bodies]
        self._turn = cycle(range(len(self._requests)))
        self._seen = Seen()
        self._counting = False

    async def run(self) -> dict[str, Any]:
        """Return images a second, latencies in milliseconds, and how often each status came."""
        asking = [asyncio.create_task(task) for task in self._tasks()]
        await asyncio.sleep(self._plan.warm_up)
        self._counting, start = True, time.perf_counter()
        while time.perf_counter() - start < self._plan.seconds and not self._is_ended():
            await asyncio.sleep(0.05)
        self._counting, seconds = False, time.perf_counter() - start
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        return _summary(self._seen, seconds)

    def _is_ended(self) -> bool:
        return bool(self._plan.until and self._plan.until.exists())

    def _tasks(self) -> Sequence[Any]:
        if self._plan.per_second is None:
            return [self._client() for _ in range(self._plan.clients)]
        return [self._begin_steadily(self._plan.per_second)]

    async def _client(self) -> None:
        """Ask, wait for the answer, ask again."""
        connection = Connection(self._plan.url)
        while True:
            await self._ask(connection)

    async def _begin_steadily(self, per_second: float) -> None:
        """Begin a request at every tick, on a connection that is free."""
        free = [Connection(self._plan.url) for _ in range(self._plan.clients)]
        asking: set[asyncio.Task[None]] = set()

        async def once(connection: Connection) -> None:
            await self._ask(connection)
            free.append(connection)

        due = time.perf_counter()
        while True:
            due += 1 / per_second
            await asyncio.sleep(max(0, due - time.perf_counter()))
            if not free:
                self._count(UNSENT)
                continue
            task = asyncio.create_task(once(free.pop()))
            asking.add(task)
            task.add_done_callback(asking.discard)

    async def _ask(self, connection: Connection) -> None:
        number = next(self._turn)
        start = time.perf_counter()
        try:
            async with asyncio.timeout(PATIENCE):
                status, content = await connection.ask(self._requests[number])
        except (OSError, EOFError, TimeoutError, ConnectionError):
            self._count(LOST)
            connection.close()
            await asyncio.sleep(0.05)
            return
        milliseconds = 1000 * (time.perf_counter() - start)
        self._count(str(status), milliseconds)
        if status == 200 and self._plan.check is not None:
            self._check(number, content)

    def _count(self, status: str, milliseconds: float | None = None) -> None:
        if not self._counting:
            return
        self._seen.statuses[status] += 1
        if milliseconds is not None:
            seen = self._seen
            (seen.milliseconds if status == "200" else seen.refused_milliseconds).append(
                milliseconds
            )

    def _check(self, number: int, content: bytes) -> None:
        """Compare the score with the one that the version named in the answer gives."""
        (answer,) = json.loads(content)["predictions"]
        version = answer["model_version"]
        self._seen.versions[version] += 1
        expected = (self._plan.check or {}).get(version)
        if expected is None or abs(answer["score"] - expected[number]) > TOLERANCE:
            self._seen.mixed += 1


def _request(plan: Plan, body: bytes) -> bytes:
    parts = urlsplit(plan.url)
    head = (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        f"Content-Type: {plan.content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _summary(seen: Seen, seconds: float) -> dict[str, Any]:
    return {
        "seconds": seconds,
        "images_per_s": len(seen.milliseconds) / seconds,
        "statuses": dict(seen.statuses),
        "milliseconds": _percentiles(seen.milliseconds),
        "refused_milliseconds": _percentiles(seen.refused_milliseconds),
        "mixed": seen.mixed,
        "versions": dict(seen.versions),
    }


def _percentiles(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    median, high, highest = np.percentile(values, [50, 99, 100])
    return {"p50": float(median), "p99": float(high), "largest": float(highest)}


def main(file: str) -> None:
    """Carry out the plan in a file."""
    import uvloop

    plan = Plan.model_validate_json(Path(file).read_bytes())
    print(json.dumps(uvloop.run(Load(plan).run())))


if __name__ == "__main__":
    main(*sys.argv[1:])
