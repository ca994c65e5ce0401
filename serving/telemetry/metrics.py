"""What the service counts, for Prometheus.

Several worker processes share one folder (PROMETHEUS_MULTIPROC_DIR, which `cracks serve` sets), and
each of them reports the sum over all.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

#: Where worker processes keep their numbers for each other; see prometheus.github.io/client_python.
SHARED = "PROMETHEUS_MULTIPROC_DIR"

#: Upper bounds, in seconds and in patches.
SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
BATCHES = (1, 2, 4, 8, 16, 32, 64)
SCORES = tuple(tenth / 10 for tenth in range(1, 11))


class Metrics:
    """The counters of this process."""

    def __init__(self) -> None:
        """Start at nothing."""
        # Imported here: the client looks once, when it is imported, whether processes share.
        from prometheus_client import (
            CollectorRegistry,
            Counter,
            Gauge,
            Histogram,
            disable_created_metrics,
        )

        disable_created_metrics()  # type: ignore[no-untyped-call] # a second series of each
        own = self._registry = CollectorRegistry()
        self._read = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"cracks_{name}", text, labels, registry=own)

        def histogram(name: str, text: str, bounds: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"cracks_{name}", text, labels, registry=own, buckets=bounds)

        def gauge(name: str, text: str, mode: Any, *labels: str) -> Gauge:
            return Gauge(f"cracks_{name}", text, labels, registry=own, multiprocess_mode=mode)

        self._requests = counter(
            "http_requests", "Requests served or refused.", "method", "route", "status"
        )
        self._seconds = histogram(
            "http_request_duration_seconds", "First byte to response.", SECONDS, "route"
        )
        self._overload = counter("overload_refusals", "Requests refused with 429.")
        self._images = counter("images", "Images predicted.")
        self._novel = counter("novel_images", "Images flagged as unlike the training data.")
        self._scores = histogram("score", "Calibrated scores of images.", SCORES)
        self._batches = histogram("batch_size", "Patches the network was given at a time.", BATCHES)
        self._waiting = gauge("queue_length", "Patches that wait for the network.", "livesum")
        self._swaps = counter("champion_swaps", "Champions put into service.")
        self._refusals = counter("champion_refusals", "Champions that could not be loaded.")
        self._model = gauge(
            "model_info", "1 for the model in service.", "livemax", "version", "run_id"
        )
        self._recorded = counter("answers_recorded", "Predictions given to the prediction log.")
        self._dropped = counter("answers_dropped", "Predictions that the prediction log lost.")
        self._champion = ("", "")

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request that was served or refused."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)
        if status == 429:
            self._overload.inc()

    def count_prediction(self, score: float, novel: bool | None) -> None:
        """Count a prediction for one image."""
        self._images.inc()
        self._scores.observe(score)
        if novel:
            self._novel.inc()

    def batch(self, size: int) -> None:
        """Count a batch of patches given to the network."""
        self._batches.observe(size)

    def waiting(self, patches: int) -> None:
        """Say how many patches wait for the network now."""
        self._waiting.set(patches)

    def swapped(self, version: str, run_id: str) -> None:
        """Say which champion is in service from now on."""
        self._swaps.inc()
        if any(self._champion):
            self._model.labels(*self._champion).set(0)
        self._champion = (version, run_id)
        self._model.labels(*self._champion).set(1)

    def refused(self) -> None:
        """Count a champion that could not be loaded."""
        self._refusals.inc()

    def recorded(self, predictions: int, dropped: int) -> None:
        """Count predictions given to the prediction log, and those that it lost."""
        self._recorded.inc(predictions)
        self._dropped.inc(dropped)

    def also(self, collector: Collector) -> None:
        """Show what a collector reads from files, too; each process reads the same."""
        self._read.register(collector)

    def shown(self) -> tuple[bytes, str]:
        """Return all numbers as Prometheus reads them, and the type of that text."""
        from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
        from prometheus_client.multiprocess import MultiProcessCollector

        registry = self._registry
        if SHARED in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry) + generate_latest(self._read), CONTENT_TYPE_LATEST
