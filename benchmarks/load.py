"""What is asked of a service under load; the process `benchmarks.load_clients` does it.

This module does not import locust, which makes the sockets of every process that imports it those
of gevent.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict


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
