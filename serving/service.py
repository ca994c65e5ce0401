"""What every route of the service is given."""

from __future__ import annotations

from dataclasses import dataclass

from cracks.monitoring.prediction_log.recorder import Recorder
from cracks.monitoring.request_counts import RequestCounts
from serving.engine.champion_watch import ChampionWatch
from serving.settings import ServiceSettings
from serving.telemetry.metrics import Metrics
from serving.telemetry.monitoring_cache import MonitoringCache


@dataclass(frozen=True)
class Service:
    """The parts of a running service."""

    settings: ServiceSettings
    watch: ChampionWatch
    recorder: Recorder
    metrics: Metrics
    watched: MonitoringCache
    requests: RequestCounts
