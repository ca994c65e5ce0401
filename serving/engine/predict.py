"""Predict for the patches of one request, whatever its protocol: compute, count, record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray
from starlette.types import Scope

from cracks.images.decode import Pixels
from cracks.inference.bundle.classifier import Prediction
from cracks.inference.handover.champion import Champion
from cracks.inference.handover.prediction_id import prediction_id
from cracks.monitoring.prediction_log.feature_projection import sketch
from cracks.monitoring.prediction_log.schema import RecordedPrediction
from cracks.system.hashing import digest_of_bytes
from serving.engine.champion_watch import ActiveModel
from serving.middleware.request_context import RequestContext, request_context
from serving.schemas.uploads import Upload
from serving.service import Service


@dataclass(frozen=True)
class IdentifiedPrediction:
    """A prediction for one image, and the id under which it is recorded."""

    prediction: Prediction
    prediction_id: str


@dataclass(frozen=True)
class PredictionBatch:
    """The predictions for one request; all from the same model."""

    champion: Champion
    predictions: list[IdentifiedPrediction]


async def predict_uploads(
    service: Service, scope: Scope, in_service: ActiveModel, uploads: Sequence[Upload]
) -> PredictionBatch:
    """Return the predictions for encoded images, in their order.

    Args:
        service: whose metrics count them, and whose log records them.
        scope: of the request.
        in_service: a leased champion.
        uploads: image files.

    Raises:
        UnreadableImage: one of them does not decode; the message begins with its name.
        Overloaded: too many patches wait already.
    """
    contents = [upload.content for upload in uploads]
    names = [upload.name for upload in uploads]
    most = service.settings.max_patch_pixels
    predictions = await in_service.engine.predict(contents, names, most)
    return _given(service, request_context(scope), in_service, contents, predictions)


async def predict_pixels(
    service: Service, scope: Scope, in_service: ActiveModel, pixels: Pixels
) -> PredictionBatch:
    """Return the predictions for patches that are decoded already, in their order.

    Args:
        service: whose metrics count them, and whose log records them.
        scope: of the request.
        in_service: a leased champion, to whose patch size the pixels belong.
        pixels: uint8 RGB (n, size, size, 3). The SHA-256 of a patch in its prediction id and in
            the log is that of these bytes.

    Raises:
        Overloaded: too many patches wait already.
    """
    predictions = await in_service.engine.predict_pixels(pixels)
    contents = [patch.tobytes() for patch in pixels]
    return _given(service, request_context(scope), in_service, contents, predictions)


def _given(
    service: Service,
    notes: RequestContext,
    in_service: ActiveModel,
    contents: Sequence[bytes],
    predictions: Sequence[Prediction],
) -> PredictionBatch:
    champion, now = in_service.champion, datetime.now(UTC)
    notes.images, notes.model_version = len(predictions), champion.version
    sketches = _sketches(predictions)
    given = []
    for number, (content, prediction) in enumerate(zip(contents, predictions, strict=True)):
        sha256 = digest_of_bytes(content)
        name = str(prediction_id(champion, sha256, now))
        given.append(IdentifiedPrediction(prediction, name))
        service.metrics.count_prediction(prediction.score, prediction.novel)
        service.recorder.add(
            recorded(
                champion,
                prediction,
                name,
                sha256,
                now,
                milliseconds=notes.milliseconds,
                sketch=None if sketches is None else sketches[number],
                image=content if service.settings.keep_images else None,
            )
        )
    return PredictionBatch(champion, given)


def recorded(
    champion: Champion,
    prediction: Prediction,
    name: str,
    sha256: str,
    time: datetime,
    *,
    milliseconds: float,
    sketch: NDArray[np.float32] | None,
    image: bytes | None,
) -> RecordedPrediction:
    """Return the row of the prediction log for a patch.

    Args:
        champion: that made it.
        prediction: for one patch.
        name: its prediction id.
        sha256: of what was sent.
        time: when it was made, with its time zone.
        milliseconds: that the request has taken so far.
        sketch: of its features, (64,).
        image: what was sent, if it is kept.
    """
    return RecordedPrediction(
        prediction_id=name,
        time=time,
        kind="predict",
        image_sha256=sha256,
        label=prediction.label,
        score=prediction.score,
        raw_score=prediction.raw,
        threshold=prediction.threshold,
        model_version=champion.version,
        run_id=champion.run_id,
        milliseconds=milliseconds,
        novelty=prediction.novelty,
        novel=prediction.novel,
        sketch=sketch,
        image=image,
    )


def _sketches(predictions: Sequence[Prediction]) -> NDArray[np.float32] | None:
    features = [one.features for one in predictions if one.features is not None]
    return sketch(np.array(features)) if len(features) == len(predictions) > 0 else None
