"""`POST /feedback`: what was really on images that were predicted."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Literal

from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field

from cracks.errors import CracksError, FeedbackError, TrackingError, one_line
from cracks.monitoring.feedback.record import (
    FOLDER,
    LONGEST_NAME,
    LONGEST_NOTE,
    Feedback,
    FeedbackRecord,
    Taken,
)
from cracks.monitoring.prediction_log.locations import FOLDER as ANSWERS
from cracks.monitoring.prediction_log.locations import below
from cracks.monitoring.prediction_log.reader import PredictionLog
from cracks.monitoring.prediction_log.schema import RecordedPrediction
from serving.middleware.request_context import request_context
from serving.schemas.prediction import EXAMPLE_ID, GivenId, Label
from serving.schemas.problems import described
from serving.service import Service

#: Labels of one request.
MOST = 500


class Given(BaseModel):
    """What was really on one image."""

    model_config = ConfigDict(extra="forbid")

    prediction_id: Annotated[str, Field(max_length=200, examples=[EXAMPLE_ID])]
    label: Annotated[str, Field(max_length=100, description="crack or no crack")]
    by: Annotated[
        str,
        Field(max_length=LONGEST_NAME, description="who labelled it; by default the key's name"),
    ] = ""
    note: Annotated[str, Field(max_length=LONGEST_NOTE)] = ""


class GivenLabels(BaseModel):
    """Labels of predictions; all are kept, or none."""

    model_config = ConfigDict(extra="forbid")

    feedback: Annotated[list[Given], Field(min_length=1, max_length=MOST)]


class Kept(BaseModel):
    """What became of a label."""

    prediction_id: GivenId
    label: Label
    answered: Annotated[str, Field(description="the predicted label", examples=["no crack"])]
    agrees: Annotated[bool, Field(examples=[False])]
    status: Annotated[
        Literal["recorded", "known", "corrected"],
        Field(
            description="known: the same label is there already; corrected: another is replaced",
            examples=["recorded"],
        ),
    ]


class KeptLabels(BaseModel):
    """What became of the labels, in their order."""

    feedback: list[Kept]


class _Place:
    """The feedback, and its predictions; opened when they are first needed."""

    def __init__(self, service: Service) -> None:
        self._service = service

    @cached_property
    def feedback(self) -> FeedbackRecord:
        return FeedbackRecord(below(self._service.settings.record, FOLDER))

    def find(self, prediction_id: str) -> RecordedPrediction | None:
        for prediction in self._service.recorder.waiting:
            if prediction.prediction_id == prediction_id:
                return prediction
        settings = self._service.settings
        return PredictionLog(settings.record, settings.service / ANSWERS).find(prediction_id)


def routes(service: Service) -> APIRouter:
    """Return the route that takes labels."""
    router, place = APIRouter(tags=["answers"]), _Place(service)

    # No `async`: files are read and written in a thread of its own.
    @router.post("/feedback", responses=described(400, 401, 404, 408, 413, 422, 503, 504))
    def feedback(request: Request, given: GivenLabels) -> KeptLabels:
        """Keep what was really on predicted images; the same label again changes nothing."""
        who = request_context(request.scope).key or "unknown"
        said = [
            Feedback(one.prediction_id, one.label, one.by.strip() or who, one.note)
            for one in given.feedback
        ]
        kept = [
            Kept(status=one.status, agrees=one.entry.agrees, **one.entry.model_dump())
            for one in _take(place, said)
        ]
        return KeptLabels(feedback=kept)

    return router


def _take(place: _Place, said: list[Feedback]) -> list[Taken]:
    try:
        return place.feedback.take(said, place.find)
    except FeedbackError as error:
        unknown = "not in the record" in str(error)
        raise HTTPException(404 if unknown else 422, str(error)) from None
    except TrackingError as error:  # no prediction id
        raise HTTPException(422, str(error)) from None
    except (CracksError, OSError) as error:
        raise HTTPException(
            503,
            f"The feedback cannot be kept now ({one_line(error)}). "
            "Nothing of it was; send it again.",
        ) from None
