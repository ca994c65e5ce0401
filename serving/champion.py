"""Keep the champion's classifier loaded, and swap it when promotion names another one."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path

from cracks.classifier import Classifier
from cracks.errors import CracksError
from cracks.handover import Champion, open_champion, read_champion
from cracks.service_reports import ServiceReporter

logger = logging.getLogger(__name__)

#: Seconds between two looks at champion.json, and between two signs of life.
LOOK_INTERVAL = 0.25


@dataclass(frozen=True)
class InService:
    """A champion and its loaded classifier; always replaced together."""

    champion: Champion
    classifier: Classifier


class ChampionWatch:
    """Follows the hand-over in the service folder, and reports there what became of it."""

    def __init__(self, service: Path) -> None:
        self._service = service
        self._reporter = ServiceReporter(service)
        self._refused: Champion | None = None
        self.current: InService | None = None
        self.problem: str | None = None

    def look(self) -> None:
        """Load the named champion if it is not the one in service.

        A champion that cannot be loaded is refused once and told of in `problem`; the present
        one, if any, goes on answering.
        """
        named: Champion | None = None
        try:
            named = read_champion(self._service)
            if self.current and named == self.current.champion:
                self.problem = self._refused = None
                return
            if named is not None and named == self._refused:
                return
            champion, bundle = open_champion(self._service)
            self.current = InService(champion, Classifier(bundle))
            self.problem = self._refused = None
            logger.info("version %s of %s answers", champion.version, champion.model_name)
        except (CracksError, OSError) as error:
            if str(error) != self.problem:
                logger.error("%s", error)
            self._refused, self.problem = named, str(error)

    def report(self) -> None:
        """Tell in the service folder which champion answers here."""
        champion = self.current.champion if self.current else None
        try:
            self._reporter.tell(champion, self._refused, self.problem)
        except OSError as error:
            logger.warning("cannot report to %s: %s", self._service, error)

    async def follow(self) -> None:
        """Look again and again, until cancelled; loading never blocks an answer or a report."""
        reporting = asyncio.create_task(self._report_on())
        try:
            while True:
                await asyncio.to_thread(self.look)
                await asyncio.sleep(LOOK_INTERVAL)
        finally:
            reporting.cancel()
            self._reporter.end()

    async def _report_on(self) -> None:
        while True:
            self.report()
            await asyncio.sleep(LOOK_INTERVAL)
