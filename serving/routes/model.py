"""Which model is in service, whether the service is ready, and which models were before."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from cracks.inference.handover.promotion_history import read_history
from serving.schemas.prediction import ModelVersion, RunId, Threshold
from serving.schemas.problems import described
from serving.service import Service

Time = Annotated[str, Field(examples=["2026-11-21T16:14:22+00:00"])]


class Health(BaseModel):
    """That the process is alive."""

    status: Literal["ok"]


class Ready(BaseModel):
    """That there is a champion."""

    status: Literal["ready"]
    model_version: ModelVersion
    problem: Annotated[
        str | None,
        Field(
            description="what stands in the way of a newer champion, or of the prediction log",
            examples=[None],
        ),
    ]


class Model(BaseModel):
    """The champion."""

    model_name: Annotated[str, Field(examples=["crack-classifier"])]
    model_version: ModelVersion
    run_id: RunId
    promoted_at: Time
    bundle_digest: Annotated[str, Field(examples=["1f0a2b3c4d5e" + "0" * 52])]
    labels: Annotated[list[str], Field(examples=[["no crack", "crack"]])]
    threshold: Threshold
    architecture: Annotated[str, Field(examples=["mobilenetv2"])]
    patch_size: Annotated[int, Field(description="pixels of a side", examples=[227])]
    precision: Annotated[str, Field(examples=["f32"])]
    metrics: Annotated[dict[str, float], Field(examples=[{"test.accuracy": 0.9991}])]
    lineage: Annotated[
        dict[str, Any],
        Field(
            description="commit, parameters and data that it was made from",
            examples=[{"source": "mendeley"}],
        ),
    ]


class Change(BaseModel):
    """One change of the champion."""

    version: ModelVersion
    kind: Annotated[str, Field(description="promote or rollback", examples=["promote"])]
    time: Time
    why: Annotated[str, Field(examples=["better on the photographs of spring"])]
    who: Annotated[str, Field(examples=["ann"])]
    from_version: Annotated[str | None, Field(examples=["2"])]


class History(BaseModel):
    """The changes of the champion, newest first."""

    history: list[Change]


def routes(service: Service) -> APIRouter:
    """Return the routes that tell of the service and its model."""
    router = APIRouter(tags=["service"])

    @router.get("/health", responses=described(504))
    async def health() -> Health:
        """Say that the process is alive."""
        return Health(status="ok")

    @router.get("/ready", responses=described(503, 504))
    async def ready() -> Ready:
        """Say whether predictions can be made, and what is wrong all the same."""
        with service.watch.lease() as in_service:
            version = in_service.champion.version
        problem = service.watch.problem or service.recorder.last_problem
        return Ready(status="ready", model_version=version, problem=problem)

    @router.get("/model", responses=described(401, 503, 504))
    async def model() -> Model:
        """Tell which model is in service, since when, how good it is, and where it comes from."""
        with service.watch.lease() as in_service:
            content, champion = in_service.classifier.bundle.content, in_service.champion
        known = champion.model_dump() | content.model_dump()
        return Model.model_validate(known | {"model_version": champion.version})

    @router.get("/model/history", responses=described(401, 503, 504))
    def history() -> History:
        """Tell which versions were promoted and taken back, by whom, and why."""
        rows = read_history(service.settings.service)
        return History(history=[Change.model_validate(row) for row in rows])

    return router
