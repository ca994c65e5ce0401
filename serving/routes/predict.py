"""`POST /predict`: a prediction for each uploaded image."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from serving.engine.predict import predict_uploads
from serving.schemas.prediction import Prediction, predictions
from serving.schemas.problems import OF_PREDICTIONS
from serving.schemas.uploads import described, read_uploads
from serving.service import Service

#: The form's field.
FIELD = "files"


class Predictions(BaseModel):
    """The predictions for one request, in the order of its files; all from the same model."""

    predictions: list[Prediction]


def routes(service: Service) -> APIRouter:
    """Return the routes that predict for patches."""
    router = APIRouter(tags=["answers"])

    @router.post(
        "/predict",
        response_model=Predictions,
        responses=OF_PREDICTIONS,
        openapi_extra=described(FIELD, several=True),
    )
    async def predict(request: Request) -> Response:
        """Predict for each image: one as the body itself, or one or more in a form."""
        uploads = await read_uploads(request, FIELD, service.settings.max_files)
        with service.watch.lease() as in_service:
            rows = await predict_uploads(service, request.scope, in_service, uploads)
        document = Predictions(predictions=predictions(rows, [upload.name for upload in uploads]))
        # As it is, and not through FastAPI, which would check it once more.
        return Response(document.model_dump_json(), media_type="application/json")

    return router
