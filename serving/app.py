"""The HTTP service put together: routes, and the layers that every request goes through."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from cracks.errors import ServiceError, UnreadableImage
from cracks.monitoring.history import FOLDER as MONITORING
from cracks.monitoring.prediction_log.locations import below
from cracks.monitoring.prediction_log.recorder import Recorder
from cracks.monitoring.request_counts import RequestCounts
from serving.engine.batching import Overloaded
from serving.engine.champion_watch import ChampionWatch
from serving.middleware.api_keys import KeyCheck, KeyRing
from serving.middleware.request_limits import RequestLimits
from serving.middleware.request_log import RequestLog
from serving.middleware.security_headers import SecurityHeaders
from serving.routes import (
    feedback,
    inspect,
    metrics,
    mlflow_compatible,
    model,
    open_inference,
    page,
    pipeline,
    predict,
    predictions,
)
from serving.schemas import problems
from serving.schemas.openapi import describe
from serving.service import Service
from serving.settings import MEGABYTE, ServiceSettings
from serving.telemetry.metrics import Metrics
from serving.telemetry.monitoring_cache import MonitoringCache
from serving.telemetry.pipeline_metrics import PipelineCollector

#: Each gives the routes of its subject.
ROUTES: tuple[Callable[[Service], APIRouter], ...] = (
    predict.routes,
    inspect.routes,
    predictions.routes,
    feedback.routes,
    model.routes,
    metrics.routes,
    mlflow_compatible.routes,
    open_inference.routes,
    pipeline.routes,
    page.routes,
)

#: Seconds between two polls of how much was recorded, and between two writes of how many requests
#: there were.
COUNT_INTERVAL, REQUESTS_INTERVAL = 1.0, 30.0


def create_app(settings: ServiceSettings) -> FastAPI:
    """Return the service of the champion that was handed over in the service folder."""
    service = _service(settings)
    app = FastAPI(
        lifespan=_lifespan(service),
        middleware=_layers(service),
        # The interactive pages load their scripts from elsewhere, which a site may forbid.
        docs_url=None,
        redoc_url=None,
        openapi_url=None,  # `describe` adds it
        # A redirection would go wherever the header Host says.
        redirect_slashes=False,
    )
    app.add_exception_handler(HTTPException, problems.refuse)
    app.add_exception_handler(RequestValidationError, problems.refuse_parameters)
    app.add_exception_handler(UnreadableImage, problems.refuse_image)
    app.add_exception_handler(ServiceError, problems.refuse_for_now)
    app.add_exception_handler(Overloaded, problems.refuse_busy)
    for routes in ROUTES:
        app.include_router(routes(service))
    describe(app, keys=not settings.open)
    return app


def _service(settings: ServiceSettings) -> Service:
    counted, watched = Metrics(), MonitoringCache(settings.record)
    counted.also(PipelineCollector(settings.service, watched))
    watch = ChampionWatch(
        settings.service,
        counted,
        max_waiting=settings.max_waiting,
        processes=settings.processes,
    )
    recorder = Recorder(
        settings.record,
        spool=settings.service / "answers",
        most_bytes=settings.answers_max_mb * MEGABYTE,
    )
    requests = RequestCounts(below(settings.record, MONITORING))
    return Service(settings, watch, recorder, counted, watched, requests)


def _layers(service: Service) -> list[Middleware]:
    """Return the layers around the routes, the outermost first."""
    settings = service.settings
    keys = [] if settings.open else [Middleware(KeyCheck, keys=KeyRing(settings.keys))]
    return [
        Middleware(SecurityHeaders),
        Middleware(RequestLog, metrics=service.metrics, counts=service.requests),
        *keys,
        Middleware(RequestLimits, settings=settings),
    ]


def _lifespan(service: Service) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.recorder.start()
        await asyncio.to_thread(service.watch.poll)
        tasks = [
            asyncio.create_task(service.watch.follow()),
            asyncio.create_task(_count(service)),
            asyncio.create_task(_keep_counts(service)),
        ]
        yield
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await asyncio.to_thread(service.recorder.close)
        await asyncio.to_thread(service.requests.write)

    return lifespan


async def _count(service: Service) -> None:
    """Tell the metrics again and again how much was recorded, until cancelled."""
    written = dropped = 0
    while True:
        recorder = service.recorder
        service.metrics.recorded(recorder.written - written, recorder.dropped - dropped)
        written, dropped = recorder.written, recorder.dropped
        await asyncio.sleep(COUNT_INTERVAL)


async def _keep_counts(service: Service) -> None:
    """Write again and again how many requests there were, until cancelled."""
    while True:
        await asyncio.sleep(REQUESTS_INTERVAL)
        await asyncio.to_thread(service.requests.write)
