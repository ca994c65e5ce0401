"""Run pieces on the cluster: few at a time, each once, even if processes of the cluster die."""

from __future__ import annotations

import heapq
import itertools
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from queue import Empty, Queue
from typing import Any

from distributed import Client, Future
from distributed.scheduler import KilledWorker

from cracks.cluster.pieces import Outcome, Piece, by_number, require_no_failure
from cracks.cluster.result_store import is_done, read_result
from cracks.cluster.scheduler import close, connect, tell
from cracks.cluster.settings import ClusterSettings
from cracks.cluster.versions import own_versions
from cracks.cluster.worker import Unfit, run_piece
from cracks.errors import ClusterError, ClusterUnavailable, CracksError, one_line
from cracks.storage.object_store import RETRY_ATTEMPTS, open_store, retry_pause

#: Pieces in flight for each thread of the cluster: one that is computed, one that waits there.
IN_FLIGHT = 2

#: How often a piece is tried, unless its error is transient.
ATTEMPTS = 3

#: So many pieces that fail before any succeeds have one cause; the others would fail, too.
HOPELESS = 10

#: Seconds between two polls of the cluster, and that scheduler or workers may be gone.
LOOK_INTERVAL, GONE_TIMEOUT = 2.0, 300.0


class _LostScheduler(Exception):
    """The connection is broken; what was in flight is unknown."""


@dataclass(frozen=True)
class _Attempt:
    piece: Piece
    number: int = 1


def results(
    settings: ClusterSettings,
    pieces: Iterable[Piece],
    beginning: str,
    sample: str | None = None,
    *,
    in_order: bool = False,
    behind: int | None = None,
) -> Iterator[tuple[Piece, bytes]]:
    """Yield each piece with its result, as soon as it is known, or in the order of the pieces.

    A piece whose result lies in the store is not computed. One that fails is retried later,
    while the others continue. However this ends, what was not computed yet is cancelled.

    Args:
        settings: where the cluster is.
        pieces: are taken only as the cluster gets through them.
        beginning: what the keys of all their results begin with.
        sample: an image that every worker must see, or None.
        in_order: what is early waits, without its result.
        behind: results that stay in the store behind the one that is taken, and are removed in the
            end; None: all stay.

    Raises:
        ClusterUnavailable: no scheduler responds, or scheduler or workers were gone for too long.
        ClusterError: a worker has other versions or no access, nothing at all succeeds, or pieces
            failed again and again: those are named after the others were yielded.
        StorageError: the store cannot be used.
    """
    run = _Run(settings, pieces, beginning, sample)
    failures: list[Outcome] = []
    taken: deque[str] = deque()
    total = 0
    try:
        found = run.outcomes()
        for outcome in by_number(found) if in_order else found:
            total += 1
            if outcome.failure:
                failures.append(outcome)
                continue
            yield outcome.piece, read_result(run.store, outcome.piece.key)
            if behind is not None:
                taken.append(outcome.piece.key)
                if len(taken) > behind:
                    run.store.remove(taken.popleft())
        for key in taken:
            run.store.remove(key)
    finally:
        run.end()
    require_no_failure(sorted(failures, key=lambda one: one.piece.number), total)


class _Run:
    def __init__(
        self, settings: ClusterSettings, pieces: Iterable[Piece], beginning: str, sample: str | None
    ) -> None:
        self._settings, self._sample, self._beginning = settings, sample, beginning
        self._new = map(_Attempt, pieces)
        self.store = open_store(settings.store, retry=True)
        self._client: Client = connect(settings, sample)
        tell(self._client, settings)
        self._known = set(self.store.keys(beginning))
        self._running: dict[Future, _Attempt] = {}
        self._ended: Queue[Future] = Queue()
        #: When, a number that keeps the order, and what to retry.
        self._again: list[tuple[float, int, _Attempt]] = []
        self._numbers = itertools.count()
        self._threads, self._looked, self._had_workers = 0, 0.0, time.monotonic()
        self._succeeded, self._failed = False, 0

    def outcomes(self) -> Iterator[Outcome]:
        while True:
            try:
                yield from self._filled()
                if not self._running and not self._again:
                    return
                yield from self._next_ended()
            except _LostScheduler:
                self._recover()

    def end(self) -> None:
        """Cancel what was not computed yet; what is being computed is written and found again."""
        with suppress(Exception):
            self._client.cancel(list(self._running))
        close(self._client)

    # --- what goes in ---------------------------------------------------------------------------

    def _filled(self) -> Iterator[Outcome]:
        """Submit pieces until enough are in flight; yield those that are done already."""
        self._look_at_workers()
        while len(self._running) < max(self._threads, 1) * IN_FLIGHT:
            attempt = self._next_attempt()
            if attempt is None:
                return
            if attempt.piece.key in self._known and is_done(self.store, attempt.piece.key):
                self._succeeded = True
                yield Outcome(attempt.piece)
            else:
                self._submit(attempt)

    def _next_attempt(self) -> _Attempt | None:
        if self._again and self._again[0][0] <= time.monotonic():
            return heapq.heappop(self._again)[2]
        return next(self._new, None)

    def _submit(self, attempt: _Attempt) -> None:
        piece = attempt.piece
        try:
            future = self._client.submit(
                run_piece,
                piece.work,
                self._settings.store,
                piece.key,
                dict(own_versions()),
                key=f"{piece.key.partition('/')[0]}-{piece.key}-{next(self._numbers)}",
                pure=False,
            )
        except Exception:
            self._try_again(attempt, 0)
            raise _LostScheduler from None
        self._running[future] = attempt
        future.add_done_callback(self._ended.put)

    def _try_again(self, attempt: _Attempt, seconds: float) -> None:
        entry = (time.monotonic() + seconds, next(self._numbers), attempt)
        heapq.heappush(self._again, entry)

    # --- what comes out -------------------------------------------------------------------------

    def _next_ended(self) -> Iterator[Outcome]:
        try:
            future = self._ended.get(timeout=LOOK_INTERVAL / 4)
        except Empty:
            if self._client.status != "running":
                raise _LostScheduler from None
            return
        attempt = self._running.get(future)
        if attempt is None:
            return  # of a connection that was lost
        if future.status not in ("finished", "error"):
            raise _LostScheduler
        error = future.exception() if future.status == "error" else None
        del self._running[future]
        future.release()
        if error is None:
            self._succeeded = True
            yield Outcome(attempt.piece)
        elif isinstance(error, Unfit):
            self._retire(error)
            self._try_again(attempt, 0)
        elif attempt.number < _patience(error):
            again = replace(attempt, number=attempt.number + 1)
            self._try_again(again, retry_pause(attempt.number))
        else:
            yield self._given_up(attempt.piece, error)

    def _given_up(self, piece: Piece, error: BaseException) -> Outcome:
        self._failed += 1
        reason = _reason(error)
        if not self._succeeded and self._failed == HOPELESS:
            raise ClusterError(
                f"The first {HOPELESS} pieces all failed, such as {piece.name}: {reason}"
            )
        return Outcome(piece, reason)

    # --- workers and scheduler ------------------------------------------------------------------

    def _look_at_workers(self) -> None:
        """Poll the number of threads; give up where there has been none for long."""
        now = time.monotonic()
        if now - self._looked < LOOK_INTERVAL:
            return
        try:
            self._threads = sum(self._client.nthreads().values())
        except Exception:
            raise _LostScheduler from None
        self._looked = now
        if self._threads:
            self._had_workers = now
        elif now - self._had_workers > GONE_TIMEOUT:
            raise ClusterUnavailable(
                f"The scheduler at {self._settings.address} has had no worker for "
                f"{GONE_TIMEOUT:.0f} s. What is done is kept; start workers and run it again."
            )

    def _retire(self, error: Unfit) -> None:
        """Remove a worker that joined during the work and cannot take part."""
        _say(f"the worker {error.worker} is sent away: {error}")
        with suppress(Exception):
            self._client.retire_workers([error.worker], close_workers=True)

    def _recover(self) -> None:
        """Connect again; what was in flight and left no result is submitted again."""
        _say(f"the connection to {self._settings.address} is lost; trying again")
        close(self._client)
        for attempt in self._running.values():
            self._try_again(attempt, 0)
        self._running.clear()
        deadline = time.monotonic() + GONE_TIMEOUT
        while True:
            try:
                self._client = connect(self._settings, self._sample)
                break
            except (ClusterUnavailable, OSError, TimeoutError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(LOOK_INTERVAL / 4)
        self._looked, self._had_workers = 0.0, time.monotonic()
        self._known |= {attempt.piece.key for _, _, attempt in self._again}
        tell(self._client, self._settings)


def _patience(error: BaseException) -> int:
    transient = isinstance(error, CracksError) and error.is_transient
    return RETRY_ATTEMPTS if transient else ATTEMPTS


def _reason(error: Any) -> str:
    if isinstance(error, KilledWorker):
        return f"{error.allowed_failures + 1} workers ended while they had it"
    return one_line(error)


def _say(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)
