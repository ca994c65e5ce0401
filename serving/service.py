"""What every route of the service is given."""

from __future__ import annotations

from dataclasses import dataclass

from cracks.answer_records import Recorder
from cracks.monitoring.request_counts import RequestCounts
from serving.champion import ChampionWatch
from serving.metrics import Metrics
from serving.settings import ServiceSettings
from serving.watched import Watched


@dataclass(frozen=True)
class Service:
    """The parts of a running service."""

    settings: ServiceSettings
    watch: ChampionWatch
    recorder: Recorder
    metrics: Metrics
    watched: Watched
    requests: RequestCounts
