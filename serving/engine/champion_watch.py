"""Keep the champion's classifier ready, and swap it when promotion names another one.

    promotion names a champion ► every process loads and warms it beside the one in service
    ► each reports it ► once all have it, each swaps it in between requests ► the old one is freed

If one process refuses it, all stay with the old one (ADR 19).
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cracks.errors import CracksError, ServiceError
from cracks.inference.bundle.classifier import Classifier
from cracks.inference.handover.champion import Champion, open_champion, open_promoted, read_champion
from cracks.inference.handover.service_processes import ServiceReporter
from serving.engine.batching import Engine

if TYPE_CHECKING:
    from serving.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

#: Seconds between two polls of champion.json, and between two signs of life; and between two polls
#: of the other processes while a champion waits for them.
POLL_INTERVAL, SWITCH_INTERVAL = 0.25, 0.02

#: Seconds that the other processes have to load a champion before this one goes ahead.
SWITCH_PATIENCE = 10.0


@dataclass(eq=False)
class ActiveModel:
    """A champion with its loaded classifier and its engine; always replaced together."""

    champion: Champion
    classifier: Classifier
    engine: Engine
    #: Requests that still use it; only `ChampionWatch` counts them.
    leases: int = 0


class ChampionWatch:
    """Follows the hand-over in the service folder, and reports there what became of it."""

    def __init__(
        self,
        service: Path,
        metrics: Metrics,
        *,
        max_waiting: int = 256,
        processes: int = 1,
    ) -> None:
        """Read nothing yet.

        Args:
            service: the folder through which promotion hands bundles over.
            metrics: counts swaps, refusals, and what the engine does.
            max_waiting: patches that may wait for the network.
            processes: how many share the cores of this machine.
        """
        self._service, self._metrics, self._max_waiting = service, metrics, max_waiting
        self._threads = share_of_cores(processes)
        self._reporter = ServiceReporter(service)
        self._lock = threading.Lock()  # guards `current` and the leases
        self._retired: list[ActiveModel] = []
        self._next: ActiveModel | None = None  # loaded, and not in service yet
        self._next_since = 0.0
        self._refused: Champion | None = None
        self.current: ActiveModel | None = None
        self.problem: str | None = None

    def poll(self) -> None:
        """Take one step towards having the named champion in service.

        A champion that cannot be loaded is refused once, which `problem` tells; the present
        one, if any, stays in service.
        """
        named: Champion | None = None
        try:
            self._free_retired()
            named = read_champion(self._service)
            if self.current and named == self.current.champion:
                self._forget_next()
                self.problem = self._refused = None
            elif named is None or named != self._refused:
                self._approach(named)
        except (CracksError, OSError) as error:
            self._refuse(named, str(error))
        except Exception as error:  # whatever a bundle does to a library: polling continues
            self._refuse(named, f"The champion cannot be loaded: {error!r}.")
        self.report()

    @contextmanager
    def lease(self) -> Iterator[ActiveModel]:
        """Hold the champion in service for one request, whatever is promoted meanwhile.

        Raises:
            ServiceError: there is none, and why.
        """
        with self._lock:
            held = self.current
            if held is None:
                raise ServiceError(self.problem or "The champion is still being loaded.")
            held.leases += 1
        try:
            yield held
        finally:
            with self._lock:
                held.leases -= 1

    def report(self) -> None:
        """Tell in the service folder which champion is in service here, and which is ready."""
        current, prepared = self.current, self._next
        try:
            self._reporter.tell(
                current.champion if current else None,
                self._refused,
                self.problem,
                prepared.champion if prepared else None,
            )
        except OSError as error:
            logger.warning("cannot report to %s: %s", self._service, error)

    def close(self) -> None:
        """Free every champion, and take the report away: the process ends."""
        self._reporter.end()
        with self._lock:
            loaded = [*self._retired, self._next, self.current]
            self._retired, self._next, self.current = [], None, None
        for one in loaded:
            if one:
                one.engine.close()

    async def follow(self) -> None:
        """Poll until cancelled; loading never blocks a request or a report."""
        loop = asyncio.get_running_loop()
        # Threads of their own: requests may keep those that the event loop has busy.
        with ThreadPoolExecutor(2, "champion") as threads:
            reporting = asyncio.create_task(self._report_on(threads))
            try:
                while True:
                    await loop.run_in_executor(threads, self.poll)
                    soon = self._next and not self.problem  # waits for the other processes
                    await asyncio.sleep(SWITCH_INTERVAL if soon else POLL_INTERVAL)
            finally:
                reporting.cancel()
                threads.shutdown()
                self.close()

    async def _report_on(self, threads: ThreadPoolExecutor) -> None:
        while True:
            await asyncio.get_running_loop().run_in_executor(threads, self.report)
            await asyncio.sleep(POLL_INTERVAL)

    # --- one step ---------------------------------------------------------------------------------

    def _approach(self, named: Champion | None) -> None:
        """Load the champion if need be, and swap it in if the other processes are ready, too."""
        if named is None:
            open_champion(self._service)  # which says what is missing
            return
        if self._next is None or self._next.champion != named:
            self._forget_next()
            self._next = self._loaded(named)
            self._next_since = time.monotonic()
            self.report()  # at once: the others wait for it
        if self.current is None or self._may_switch(self.current, named):
            self._switch(self._next)

    def _loaded(self, champion: Champion) -> ActiveModel:
        classifier = Classifier(open_promoted(self._service, champion), self._threads)
        return ActiveModel(
            champion, classifier, Engine(classifier, self._metrics, self._max_waiting)
        )

    def _may_switch(self, current: ActiveModel, named: Champion) -> bool:
        """Return whether all other processes are ready for it, or have had time enough."""
        others = self._reporter.others()
        for other in others:
            if other.refused == named:
                self._stand_by(
                    f"The process {other.process} refused version {named.version}: "
                    f"{other.problem} All stay with version {current.champion.version}."
                )
                return False
        missing = [one.process for one in others if named not in (one.champion, one.prepared)]
        if missing and time.monotonic() - self._next_since > SWITCH_PATIENCE:
            logger.warning(
                "version %s is in service here without %s, which did not load it within %.0f s",
                named.version,
                ", ".join(missing),
                SWITCH_PATIENCE,
            )
            return True
        return not missing

    def _switch(self, new: ActiveModel) -> None:
        with self._lock:
            old, self.current = self.current, new
        self._next = self.problem = self._refused = None
        if old:
            self._retired.append(old)
        self._metrics.swapped(new.champion.version, new.champion.run_id)
        logger.info("version %s of %s is in service", new.champion.version, new.champion.model_name)

    def _refuse(self, named: Champion | None, problem: str) -> None:
        self._forget_next()
        self._stand_by(problem)
        if named not in (None, self._refused):
            self._metrics.refused()
        self._refused = named

    def _stand_by(self, problem: str) -> None:
        if problem != self.problem:
            logger.error("%s", problem)
        self.problem = problem

    # --- freeing ----------------------------------------------------------------------------------

    def _forget_next(self) -> None:
        if self._next:
            self._retired.append(self._next)
            self._next = None
            self._free_retired()

    def _free_retired(self) -> None:
        """Free every champion that is out of service and that no request uses any more."""
        with self._lock:
            free = [one for one in self._retired if not one.leases]
            self._retired = [one for one in self._retired if one.leases]
        if not free:
            return
        while free:
            free.pop().engine.close()
        _give_back_memory()


def share_of_cores(processes: int) -> int | None:
    """Return the threads to compute with of one of several processes; None: all cores are its."""
    if processes == 1:
        return None
    return max(1, len(os.sched_getaffinity(0)) // processes)


def _give_back_memory() -> None:
    """Give the memory of a freed network back to the system.

    The C library keeps it for each thread that asked for some; without this the process grows with
    every swap.
    """
    # Only glibc has it, and only glibc needs it.
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
