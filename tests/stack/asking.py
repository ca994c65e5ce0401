"""A client of the service that asks several times a second, whatever happens, and keeps answers."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import httpx
import pyarrow.parquet as pq

from cracks.monitoring.prediction_log.recorder import FLUSH_INTERVAL
from tests.stack.conftest import RunningStack

#: Seconds between two questions.
INTERVAL = 0.2

#: Seconds of answers that a service which is killed may not have written yet.
UNWRITTEN = FLUSH_INTERVAL + 6


@dataclass(frozen=True)
class Heard:
    """What came of one question: an answer, or why there is none."""

    at: float
    run_id: str = ""
    score: float = -1.0
    prediction_id: str = ""
    problem: str = ""


@dataclass
class Asking:
    """Asks for one photograph, on a new connection each time, from a thread of its own."""

    stack: RunningStack
    photograph: bytes
    heard: list[Heard] = field(default_factory=list)

    def __enter__(self) -> Asking:
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._ask_on, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join(60)

    def _ask_on(self) -> None:
        while not self._ended.wait(INTERVAL):
            self.heard.append(self._ask())

    def _ask(self) -> Heard:
        now = time.time()
        try:
            (answer,) = self.stack.predict({"patch.jpg": self.photograph})
        except httpx.HTTPError as error:
            return Heard(now, problem=f"{type(error).__name__}: {error}")
        return Heard(now, answer["run_id"], answer["score"], answer["prediction_id"])

    @property
    def answers(self) -> list[Heard]:
        return [one for one in self.heard if not one.problem]

    @property
    def problems(self) -> list[Heard]:
        return [one for one in self.heard if one.problem]

    def require_answers(self, runs: list[str], killed: float | None = None) -> None:
        """Each question was answered, by one of these runs' models in turn, each always the same.

        Args:
            runs: of the champions, in the order in which they answered.
            killed: when the process of the service was; then, and until it was back, nobody
                answers, which is told by a refused or broken connection and by nothing else.
        """
        assert self.answers
        answered = [one.run_id for one in self.answers]
        assert set(answered) <= set(runs)
        assert answered == sorted(answered, key=runs.index)
        for run in set(answered):
            assert len({one.score for one in self.answers if one.run_id == run}) == 1
        if killed is None:
            assert self.problems == []
            return
        assert self.problems, "it was killed, and nobody noticed"
        first, last = self.problems[0].at, self.problems[-1].at
        assert first >= killed - 1  # asked before, and not answered any more
        assert not [one for one in self.answers if first < one.at < last]
        assert {one.problem.partition(":")[0] for one in self.problems} <= {
            "ConnectError",
            "ReadError",
            "RemoteProtocolError",
        }

    def unrecorded(self, killed: float | None = None) -> set[str]:
        """Return the answers that are not in the record, but for a killed service's last ones."""
        given = {
            one.prediction_id
            for one in self.answers
            if killed is None or not killed - UNWRITTEN < one.at <= killed
        }
        return (
            given
            - recorded_in(self.stack.place.service / "answers")
            - recorded_in(self.stack.place.storage / "answers")
        )


def recorded_in(folder: Path) -> set[str]:
    """Return the ids of the answers in a record, which may be written at the same time."""
    found: set[str] = set()
    for part in folder.rglob("*.parquet"):
        try:
            table = pq.read_table(part, columns=["prediction_id"], partitioning=None)
        except FileNotFoundError:  # uploaded, or merged, since it was listed
            continue
        found.update(table["prediction_id"].to_pylist())
    return found
