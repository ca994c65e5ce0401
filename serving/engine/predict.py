"""Predict for the patches of one request, whatever its protocol: compute, count, record."""

from __future__ import annotations

from collections.abc import Sequence
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
from serving.middleware.request_context import request_context
from serving.schemas.uploads import Upload
from serving.service import Service


async def predict_uploads(
    service: Service, scope: Scope, in_service: ActiveModel, uploads: Sequence[Upload]
) -> list[RecordedPrediction]:
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
    return _record(service, scope, in_service.champion, contents, predictions)


async def predict_pixels(
    service: Service, scope: Scope, in_service: ActiveModel, pixels: Pixels
) -> list[RecordedPrediction]:
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
    return _record(service, scope, in_service.champion, contents, predictions)


def _record(
    service: Service,
    scope: Scope,
    champion: Champion,
    contents: Sequence[bytes],
    predictions: Sequence[Prediction],
) -> list[RecordedPrediction]:
    now, notes = datetime.now(UTC), request_context(scope)
    notes.images, notes.model_version = len(predictions), champion.version
    rows = [
        recorded(
            champion,
            prediction,
            content,
            now,
            milliseconds=notes.milliseconds,
            sketch=sketched,
            keep_image=service.settings.keep_images,
        )
        for content, prediction, sketched in zip(
            contents, predictions, _sketches(predictions), strict=True
        )
    ]
    for row in rows:
        service.metrics.count_prediction(row.score, row.novel)
        service.recorder.add(row)
    return rows


def recorded(
    champion: Champion,
    prediction: Prediction,
    content: bytes,
    time: datetime,
    *,
    milliseconds: float,
    sketch: NDArray[np.float32] | None,
    keep_image: bool,
) -> RecordedPrediction:
    """Return the row of the prediction log for a patch.

    Args:
        champion: that made it.
        prediction: for one patch.
        content: what was sent.
        time: when it was made, with its time zone.
        milliseconds: that the request has taken so far.
        sketch: of its features, (64,).
        keep_image: whether what was sent is kept.
    """
    sha256 = digest_of_bytes(content)
    return RecordedPrediction(
        prediction_id=str(prediction_id(champion, sha256, time)),
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
        image=content if keep_image else None,
    )


def _sketches(predictions: Sequence[Prediction]) -> Sequence[NDArray[np.float32] | None]:
    """Return a sketch of the features of each; None from a bundle that gives no features."""
    features = [one.features for one in predictions if one.features is not None]
    return list(sketch(np.array(features))) if features else [None] * len(predictions)
