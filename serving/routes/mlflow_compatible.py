"""What `mlflow models serve` offers, so that its clients can ask here instead.

Source: MLflow 3.17, "Deploy MLflow Model as a Local Inference Server", section "Inference Server
Specification", and mlflow/pyfunc/scoring_server of that release.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field

from serving.engine.predict import predict_pixels
from serving.schemas.json_body import as_patches, read_document
from serving.schemas.prediction import Prediction, predictions
from serving.schemas.problems import OF_PREDICTIONS, described, schema_of
from serving.schemas.uploads import content_type
from serving.service import Service
from serving.telemetry.release import release

#: The keys under which MLflow takes arrays, and those for tables, which no pixels come in.
KEYS, TABLES = ("inputs", "instances"), ("dataframe_split", "dataframe_records")

#: What the model calls its input.
INPUT = "image"


class Invocation(BaseModel):
    """Pixels, uint8 RGB, in MLflow's format; one of the two keys."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["inputs"]}, {"required": ["instances"]}]}
    )

    inputs: Annotated[
        list[Any] | dict[str, Any],
        Field(description='n×size×size×3 numbers from 0 to 255, or {"image": them}'),
    ] = []
    instances: Annotated[
        list[Any],
        Field(description='as `inputs`, or one {"image": size×size×3 numbers} an image'),
    ] = []


class Invoked(BaseModel):
    """The response of MLflow, and beside it that of this service."""

    predictions: Annotated[
        list[list[float]],
        Field(description="what the network itself gives, not calibrated", examples=[[[0.981]]]),
    ]
    answers: list[Prediction]


def routes(service: Service) -> APIRouter:
    """Return the routes of MLflow's scoring server."""
    router = APIRouter(tags=["MLflow"])
    content = {"application/json": {"schema": schema_of(Invocation)}}

    @router.post(
        "/invocations",
        response_model=Invoked,
        responses=OF_PREDICTIONS,
        openapi_extra={"requestBody": {"required": True, "content": content}},
    )
    async def invocations(request: Request) -> Response:
        """Predict for pixels as `mlflow models serve` does for a registered version."""
        if content_type(request) != "application/json":
            raise HTTPException(415, "Send application/json: this model takes arrays, no tables.")
        body = await request.body()
        with service.watch.lease() as in_service:
            size = in_service.classifier.bundle.content.patch_size
            pixels = await read_document(
                body,
                service.settings,
                lambda document: as_patches(_values(document), size, service.settings.max_files),
            )
            rows = await predict_pixels(service, request.scope, in_service, pixels)
        names = [f"image {number}" for number in range(1, len(rows) + 1)]
        raw = [[row.raw_score] for row in rows]
        invoked = Invoked(predictions=raw, answers=predictions(rows, names))
        return Response(invoked.model_dump_json(), media_type="application/json")

    @router.get("/ping", response_class=PlainTextResponse, responses=described(503, 504))
    async def ping() -> Response:
        """Say whether predictions can be made."""
        with service.watch.lease():
            return PlainTextResponse("\n")

    @router.get("/version", response_class=PlainTextResponse, responses=described(401, 504))
    async def project_version() -> Response:
        """Return which release of this project is running."""
        return PlainTextResponse(release())

    return router


def _values(document: Any) -> Any:
    """Return the pixels of a document, still as lists."""
    if not isinstance(document, dict) or len(document.keys() & {*KEYS}) != 1:
        found = document.keys() & {*TABLES} if isinstance(document, dict) else ()
        said = "It takes no tables. " if found else ""
        raise HTTPException(400, f"{said}Send one object with `inputs` or `instances`.")
    values = document.get("inputs", document.get("instances"))
    if isinstance(values, dict):
        return _only(values)
    if isinstance(values, list) and values and isinstance(values[0], dict):
        return [_only(one) for one in values]
    return values


def _only(named: Any) -> Any:
    if not isinstance(named, dict) or set(named) != {INPUT}:
        raise HTTPException(400, f"The model's only input is `{INPUT}`.")
    return named[INPUT]
