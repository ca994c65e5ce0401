"""`GET /pipeline/overview`: how the pipeline is doing, for people on the page `/pipeline`."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable
from typing import Annotated, TypeVar

from fastapi import APIRouter, HTTPException, Path, Query, Response
from pydantic import BaseModel, Field

from cracks.errors import CracksError, one_line
from cracks.inference.handover.champion import read_champion
from cracks.inference.handover.promotion_history import read_history
from cracks.inference.handover.training_summaries import TrainingRun, read_runs
from cracks.monitoring.history import LiveAccuracy, Window
from serving.routes.model import Change, Time
from serving.schemas.prediction import ModelVersion
from serving.schemas.problems import described
from serving.service import Service

#: What OpenAPI shows as a response.
EXAMPLE = pathlib.Path(__file__).with_name("pipeline_example.json")

#: Days of monitoring that are shown at most.
MOST_DAYS = 366

Found = TypeVar("Found")


class NamedChampion(BaseModel):
    """The champion that promotion has named."""

    model_name: Annotated[str, Field(examples=["crack-classifier"])]
    version: ModelVersion
    run_id: Annotated[str, Field(examples=["5c0b6f1f2a8c4a7d8f0d6b8e3a1c9d42"])]
    promoted_at: Time


class Links(BaseModel):
    """Where the other tools are found, as the settings of this service say."""

    mlflow: Annotated[str | None, Field(examples=["http://127.0.0.1:5000"])]
    prefect: Annotated[str | None, Field(examples=["http://127.0.0.1:4200"])]
    data_docs: Annotated[str | None, Field(examples=["http://127.0.0.1:8080/overview.html"])]


class PipelineOverview(BaseModel):
    """The champion, and what became of photographs, trainings and predictions."""

    champion: NamedChampion | None
    answering: Annotated[
        str | None, Field(description="version that this process has in service", examples=["3"])
    ]
    links: Links
    history: Annotated[list[Change], Field(description="of the champion, newest first")]
    runs: Annotated[list[TrainingRun], Field(description="trainings, newest first")]
    windows: Annotated[
        list[Window],
        Field(description="of monitoring, oldest first; movers and picture of the last alarm only"),
    ]
    live: Annotated[
        LiveAccuracy | None, Field(description="by people's feedback; null before there is any")
    ]
    problems: Annotated[
        list[str], Field(description="what could not be read, and why", examples=[[]])
    ]


def routes(service: Service) -> APIRouter:
    """Return the routes that the overview page asks."""
    router = APIRouter(tags=["pipeline"])

    # No `async`: reading files takes a thread of its own, and the event loop is not blocked.
    @router.get(
        "/pipeline/overview",
        responses={
            200: {"content": {"application/json": {"example": json.loads(EXAMPLE.read_bytes())}}},
            **described(401, 422, 504),
        },
    )
    def overview(
        days: Annotated[
            int, Query(ge=1, le=MOST_DAYS, description="of monitoring, up to now")
        ] = 30,
    ) -> PipelineOverview:
        """Tell of champions, trainings, data and monitoring; it changes nothing."""
        return _overview(service, days)

    @router.get(
        "/pipeline/pictures/{name}",
        response_class=Response,
        responses={
            200: {"description": "the picture", "content": {"image/png": {}}},
            **described(401, 404, 422, 503, 504),
        },
    )
    def picture(
        name: Annotated[
            str, Path(max_length=200, description="of a window", examples=["20261121T150000Z.png"])
        ],
    ) -> Response:
        """Show the photographs that moved a window, beside the nearest ones of the training."""
        try:
            content = service.watched.picture(name)
        except (CracksError, OSError, ValueError) as error:
            raise HTTPException(503, f"The picture cannot be read: {one_line(error)}") from None
        if content is None:
            raise HTTPException(404, "There is no such picture of a window.")
        return Response(content, media_type="image/png")

    return router


def _overview(service: Service, days: int) -> PipelineOverview:
    folder, settings = service.settings.service, service.settings
    problems: list[str] = []

    def read(what: Callable[[], Found], otherwise: Found) -> Found:
        """Return a part; one that cannot be read becomes a problem, and hides no other."""
        try:
            return what()
        except (CracksError, OSError) as error:
            problems.append(one_line(error))
            return otherwise

    champion = read(lambda: read_champion(folder), None)
    if champion and service.watch.problem:
        problems.append(service.watch.problem)
    current = service.watch.current
    return PipelineOverview(
        champion=NamedChampion.model_validate(champion.model_dump()) if champion else None,
        answering=current.champion.version if current else None,
        links=Links(
            mlflow=settings.mlflow_url,
            prefect=settings.prefect_url,
            data_docs=settings.data_docs_url,
        ),
        history=read(lambda: [Change.model_validate(one) for one in read_history(folder)], []),
        runs=read(lambda: read_runs(folder), []),
        windows=_shortened(read(lambda: service.watched.windows(days), [])),
        live=read(service.watched.live, None),
        problems=problems,
    )


def _shortened(windows: list[Window]) -> list[Window]:
    """Leave movers and picture out of all windows but the last one that fired."""
    alarms = [number for number, window in enumerate(windows) if window.fired]
    last = alarms[-1] if alarms else None
    return [
        window
        if number == last
        else window.model_copy(update={"movers": (), "picture": "", "skipped": ()})
        for number, window in enumerate(windows)
    ]
