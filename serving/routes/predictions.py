"""`GET /answers`: the newest predictions of all processes of the service."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query
from pydantic import BaseModel, ConfigDict, Field

from cracks.errors import CracksError, one_line
from serving.schemas.prediction import GivenId, Label, ModelVersion, Novel, RunId, Threshold
from serving.schemas.problems import described
from serving.service import Service

#: Predictions in one response.
MOST = 500


class LoggedPrediction(BaseModel):
    """A prediction as it was recorded, without the image."""

    model_config = ConfigDict(from_attributes=True, protected_namespaces=())

    prediction_id: GivenId
    time: Annotated[datetime, Field(examples=["2026-11-21T16:14:22.417Z"])]
    kind: Annotated[str, Field(description="predict or inspect", examples=["predict"])]
    label: Label
    score: Annotated[
        float,
        Field(description="of a photograph, that of its highest tile", examples=[0.987]),
    ]
    threshold: Threshold
    novelty: Annotated[
        float | None,
        Field(description="of a photograph, the median of its tiles", examples=[0.4]),
    ]
    novel: Novel
    crack_share: Annotated[
        float | None, Field(description="of the area of a photograph", examples=[0.03])
    ]
    model_version: ModelVersion
    run_id: RunId
    milliseconds: Annotated[float, Field(examples=[12.4])]


class LoggedPredictions(BaseModel):
    """The newest predictions, newest first."""

    answers: list[LoggedPrediction]


def routes(service: Service) -> APIRouter:
    """Return the routes that list recorded predictions."""
    router = APIRouter(tags=["answers"])

    # No `async`: reading files takes a thread of its own, and the event loop is not blocked.
    @router.get("/answers", responses=described(401, 422, 503, 504))
    def answers(
        limit: Annotated[int, Query(ge=1, le=MOST, description="how many at most")] = 50,
    ) -> LoggedPredictions:
        """List the newest predictions; those of other processes appear seconds later."""
        try:
            newest = service.recorder.recent(limit)
        except (CracksError, OSError) as error:
            raise HTTPException(
                503,
                f"The prediction log cannot be read ({one_line(error)}). "
                "Predictions are made all the same.",
            ) from None
        return LoggedPredictions(answers=[LoggedPrediction.model_validate(one) for one in newest])

    return router
