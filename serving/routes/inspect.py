"""`POST /inspect`: where the cracks are on a whole photograph, as JSON or as a picture."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, HTTPException, Query, Request, Response
from PIL.Image import Image

from cracks.errors import UnreadableImage
from cracks.images.decode import decode_upright, stored_size
from cracks.inference.handover.prediction_id import prediction_id
from cracks.inference.photos.inspection import PhotoInspection, inspect_photo
from cracks.inference.photos.overlap import MAX_OVERLAP, OVERLAP
from cracks.inference.photos.overlay import draw_overlay, encoded_picture
from cracks.inference.photos.tiling import Tiling
from cracks.monitoring.prediction_log.feature_projection import sketch
from cracks.monitoring.prediction_log.schema import RecordedPrediction
from cracks.system.console import Advance
from cracks.system.hashing import digest_of_bytes
from serving.engine.photo_slots import PhotoSlots
from serving.middleware.request_context import RequestContext, request_context
from serving.schemas.inspection import Inspected
from serving.schemas.problems import OF_PREDICTIONS
from serving.schemas.problems import described as described_problems
from serving.schemas.uploads import Upload, described, read_uploads
from serving.service import Service

#: What can be asked for with the header Accept, and what Pillow calls it; JSON comes first.
PICTURES = {"image/png": "PNG", "image/jpeg": "JPEG"}
KINDS = ("application/json", *PICTURES)


@dataclass(frozen=True)
class Wanted:
    """What a request asks for."""

    upload: Upload
    kind: str  # one of KINDS
    overlap: float
    mm_per_px: float | None


def routes(service: Service) -> APIRouter:
    """Return the route for whole photographs."""
    router = APIRouter(tags=["answers"])
    settings = service.settings
    room = PhotoSlots(settings.max_inspections, settings.max_photo_pixels)
    picture = {"schema": {"type": "string", "format": "binary"}}
    responses: dict[int | str, dict[str, Any]] = {
        200: {"model": Inspected, "content": dict.fromkeys(PICTURES, picture)},
        **OF_PREDICTIONS,
        **described_problems(406),
    }

    @router.post("/inspect", responses=responses, openapi_extra=described("photo", several=False))
    async def inspect(
        request: Request,
        mm_per_px: Annotated[
            float | None,
            Query(gt=0, le=1000, allow_inf_nan=False, description="the scale, for sizes in mm"),
        ] = None,
        overlap: Annotated[
            float,
            Query(
                ge=0,
                le=MAX_OVERLAP,
                allow_inf_nan=False,
                description="share of a tile's side that neighbours have in common at least",
            ),
        ] = OVERLAP,
    ) -> Response:
        """Cut a photograph of any size into tiles, predict for each, and say where cracks are.

        It is turned upright as its EXIF data say. With the header `Accept: image/png` or
        `image/jpeg` the response is the photograph with the heat map over it.
        """
        kind = chosen_kind(", ".join(request.headers.getlist("accept")))
        (upload,) = await read_uploads(request, "photo", 1)
        wanted = Wanted(upload, kind, overlap, mm_per_px)
        pixels = await asyncio.to_thread(_pixels, service, wanted)
        notes = request_context(request.scope)
        notes.images = 1
        return await room.run(pixels, lambda advance: _inspect(service, wanted, notes, advance))

    return router


def chosen_kind(accept: str) -> str:
    """Return the media type that a header Accept prefers; JSON where it leaves the choice.

    Raises:
        HTTPException: 406, it takes none of them.

    Source: RFC 9110, section 12.5.1.
    """
    qualities: dict[str, float] = {}
    for entry in (accept.strip() or "*/*").lower().split(","):
        name, *parameters = (part.strip() for part in entry.split(";"))
        given = [part[2:] for part in parameters if part.startswith("q=")]
        qualities[name] = _number(given[0]) if given else 1.0

    def quality(kind: str) -> float:
        ranges = (kind, f"{kind.partition('/')[0]}/*", "*/*")
        return next((qualities[one] for one in ranges if one in qualities), 0.0)

    best = max(KINDS, key=quality)
    if quality(best) <= 0:
        raise HTTPException(406, f"The response cannot have that type. Accept {', '.join(KINDS)}.")
    return best


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _pixels(service: Service, wanted: Wanted) -> int:
    """Return how many pixels a photograph has, which is known before it is decoded.

    Raises:
        UnreadableImage: it is no image, or too large.
        HTTPException: 413, it would be too many patches.
    """
    with service.watch.lease() as in_service:
        size = in_service.classifier.bundle.content.patch_size
    try:
        width, height = stored_size(wanted.upload.content, service.settings.max_photo_pixels)
    except UnreadableImage as error:
        raise UnreadableImage(f"{wanted.upload.name}: {error}") from None
    patches = len(Tiling(width, height, size, wanted.overlap))
    most = service.settings.max_photo_patches
    if patches > most:
        raise HTTPException(
            413,
            f"{wanted.upload.name} would be {patches:,} patches; at most {most:,}. Send a smaller "
            "part of it, or give a smaller overlap.",
        )
    return width * height


def _inspect(service: Service, wanted: Wanted, notes: RequestContext, advance: Advance) -> Response:
    """Inspect the photograph and record the prediction; runs in a thread."""
    begin, content = time.perf_counter(), wanted.upload.content
    try:
        pixels = decode_upright(content, service.settings.max_photo_pixels)
    except UnreadableImage as error:
        raise UnreadableImage(f"{wanted.upload.name}: {error}") from None
    with service.watch.lease() as in_service:
        champion = in_service.champion
        inspection = inspect_photo(
            in_service.classifier, pixels, wanted.overlap, wanted.mm_per_px, advance
        )
    now, sha256 = datetime.now(UTC), digest_of_bytes(content)
    document = {
        "file": wanted.upload.name,
        **inspection.to_json(),
        "prediction_id": str(prediction_id(champion, sha256, now)),
        "model_version": champion.version,
        "run_id": champion.run_id,
        "seconds": round(time.perf_counter() - begin, 3),
    }
    notes.model_version = champion.version
    service.metrics.count_prediction(inspection.score, inspection.novel)
    response = (
        _picture(draw_overlay(pixels, inspection, champion.version), wanted.kind, document)
        if wanted.kind in PICTURES
        else _json_response(document)
    )
    row = _recorded(inspection, document, sha256, now)
    kept = content if service.settings.keep_images else None
    service.recorder.add(replace(row, milliseconds=notes.milliseconds, image=kept))
    return response


def _json_response(document: dict[str, Any]) -> Response:
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    body = text.encode("utf-8", "replace")
    return Response(body, headers={"Vary": "Accept"}, media_type="application/json")


def _picture(overlay: Image, kind: str, document: dict[str, Any]) -> Response:
    headers = {
        "X-Prediction-Id": document["prediction_id"],
        "X-Crack-Share": str(document["crack_share"]),
        "X-Label": document["label"],
        "Vary": "Accept",
    }
    return Response(encoded_picture(overlay, PICTURES[kind]), headers=headers, media_type=kind)


def _recorded(
    inspection: PhotoInspection, document: dict[str, Any], sha256: str, now: datetime
) -> RecordedPrediction:
    """Return the row of the record: the highest tile, and what is usual of the tiles."""
    measured = inspection.measured
    novelty, features = measured.novelty, measured.features
    return RecordedPrediction(
        prediction_id=document["prediction_id"],
        time=now,
        kind="inspect",
        image_sha256=sha256,
        label=inspection.label,
        score=document["score"],
        raw_score=float(measured.raw[measured.scores.argmax()]),
        threshold=inspection.threshold,
        model_version=document["model_version"],
        run_id=document["run_id"],
        milliseconds=0.0,
        novelty=None if novelty is None else float(np.median(novelty)),
        novel=inspection.novel,
        crack_share=document["crack_share"],
        sketch=None if features is None else sketch(features).mean(axis=0),
    )
