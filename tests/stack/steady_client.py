"""A client that requests several predictions a second, whatever happens, and keeps what it gets."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pyarrow.parquet as pq

from cracks.monitoring.prediction_log.recorder import FLUSH_INTERVAL
from tests.stack.conftest import RunningStack

#: Seconds between two requests.
INTERVAL = 0.2

#: Seconds of predictions that a service which is killed may not have written yet.
UNWRITTEN = FLUSH_INTERVAL + 6


@dataclass(frozen=True)
class Outcome:
    """What came of one request: a prediction, or why there is none."""

    at: float
    run_id: str = ""
    score: float = -1.0
    prediction_id: str = ""
    problem: str = ""


@dataclass
class SteadyClient:
    stack: RunningStack
    outcomes: list[Outcome] = field(default_factory=list)

    @contextmanager
    def predicting(self, photograph: bytes) -> Iterator[SteadyClient]:
        """Request predictions, each on a new connection, from a thread of its own."""
        ended = threading.Event()

        def request_on() -> None:
            while not ended.wait(INTERVAL):
                self.outcomes.append(self._request(photograph))

        thread = threading.Thread(target=request_on, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            ended.set()
            thread.join(60)

    def _request(self, photograph: bytes) -> Outcome:
        now = time.time()
        try:
            (found,) = self.stack.predict({"patch.jpg": photograph})
        except httpx.HTTPError as error:
            return Outcome(now, problem=f"{type(error).__name__}: {error}")
        return Outcome(now, found["run_id"], found["score"], found["prediction_id"])

    @property
    def predictions(self) -> list[Outcome]:
        return [one for one in self.outcomes if not one.problem]

    @property
    def problems(self) -> list[Outcome]:
        return [one for one in self.outcomes if one.problem]

    def require_predictions(self, runs: list[str], killed: float | None = None) -> None:
        """Each request got a prediction, of one of these runs' models in turn, always the same.

        Args:
            runs: of the champions, in the order in which they predicted.
            killed: when the process of the service was; then, and until it was back, connections
                are refused or broken, and nothing else happens.
        """
        assert self.predictions
        predicted = [one.run_id for one in self.predictions]
        assert set(predicted) <= set(runs)
        assert predicted == sorted(predicted, key=runs.index)
        for run in set(predicted):
            assert len({one.score for one in self.predictions if one.run_id == run}) == 1
        if killed is None:
            assert self.problems == []
            return
        assert self.problems, "it was killed, and nobody noticed"
        first, last = self.problems[0].at, self.problems[-1].at
        assert first >= killed - 1  # requested before, and not answered any more
        assert not [one for one in self.predictions if first < one.at < last]
        assert {one.problem.partition(":")[0] for one in self.problems} <= {
            "ConnectError",
            "ReadError",
            "RemoteProtocolError",
        }

    def unrecorded(self, killed: float | None = None) -> set[str]:
        """Return the predictions that are not in the log, but for a killed service's last ones."""
        given = {
            one.prediction_id
            for one in self.predictions
            if killed is None or not killed - UNWRITTEN < one.at <= killed
        }
        return (
            given
            - recorded_in(self.stack.place.service / "answers")
            - recorded_in(self.stack.place.storage / "answers")
        )


def recorded_in(folder: Path) -> set[str]:
    """Return the ids in a prediction log, which may be written at the same time."""
    found: set[str] = set()
    for part in folder.rglob("*.parquet"):
        try:
            table = pq.read_table(part, columns=["prediction_id"], partitioning=None)
        except FileNotFoundError:  # uploaded, or merged, since it was listed
            continue
        found.update(table["prediction_id"].to_pylist())
    return found
