"""The HTTP service: answers for images, and says which model answers and whether it can."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, File, HTTPException, Request, UploadFile
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from cracks.errors import UnreadableImage
from cracks.prediction_ids import prediction_id
from serving.champion import ChampionWatch, InService

#: Bytes of one upload, and files of one request, that are read at all.
LARGEST_UPLOAD = 20 * 1024 * 1024
MOST_FILES = 64


class Prediction(BaseModel):
    """The answer for one image."""

    file: Annotated[str, Field(examples=["column-07.jpg"])]
    label: Annotated[str, Field(examples=["crack"])]
    score: Annotated[float, Field(description="probability of a crack", examples=[0.987])]
    threshold: Annotated[float, Field(description="a score at or above it means `crack`")]
    novelty: Annotated[
        float | None,
        Field(description="distance from the training data; above 1 it is unusual", examples=[0.4]),
    ]
    novel: Annotated[
        bool | None,
        Field(description="whether the image is unlike the training data: do not trust the label"),
    ]
    prediction_id: Annotated[
        str,
        Field(
            description="what `cracks trace` follows from this answer back to the training data",
            examples=["v3-1f0a2b3c4d5e-9e107d9d372bb682-20261121T161422417Z"],
        ),
    ]
    model_version: Annotated[str, Field(examples=["3"])]
    run_id: Annotated[str, Field(description="the MLflow run that trained the model")]


class Predictions(BaseModel):
    """The answers of one request, in the order of its files; all from the same model."""

    predictions: list[Prediction]


class Problem(BaseModel):
    """Why a request was not answered, and what to do."""

    detail: str


def create_app(service: Path) -> FastAPI:
    """Return the service that answers with the champion handed over in the folder `service`."""
    watch = ChampionWatch(service)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(watch.look)
        following = asyncio.create_task(watch.follow())
        yield
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following

    app = FastAPI(
        title="Concrete crack classifier",
        summary="Says `crack` or `no crack` for photographs of concrete.",
        lifespan=lifespan,
        # The interactive pages load their scripts from elsewhere, which a site may forbid.
        docs_url=None,
        redoc_url=None,
    )
    app.add_exception_handler(UnreadableImage, _refuse_image)
    _add_routes(app, watch)
    return app


def _add_routes(app: FastAPI, watch: ChampionWatch) -> None:
    problems: dict[int | str, dict[str, Any]] = {
        413: {"model": Problem, "description": "too large, or too many files"},
        415: {"model": Problem, "description": "a file is no readable image"},
        503: {"model": Problem, "description": "no champion is in service"},
    }

    @app.post("/predict", responses=problems)
    async def predict(
        files: Annotated[list[UploadFile], File(description="one or more JPEG or PNG images")],
    ) -> Predictions:
        """Answer for each uploaded image, all with the same model."""
        in_service = _in_service(watch)
        names = [file.filename or f"file {i}" for i, file in enumerate(files, start=1)]
        contents = await _read(files, names)
        return await run_in_threadpool(_predict, in_service, names, contents)

    @app.get("/health")
    async def health() -> dict[str, str]:
        """Say that the process answers at all."""
        return {"status": "ok"}

    @app.get("/ready", responses={503: problems[503]})
    async def ready() -> dict[str, Any]:
        """Say whether predictions can be made, and what stands in the way of a newer model."""
        in_service = _in_service(watch)
        version = in_service.champion.version
        return {"status": "ready", "model_version": version, "problem": watch.problem}

    @app.get("/model", responses={503: problems[503]})
    async def model() -> dict[str, Any]:
        """Tell which model answers, since when, how good it is, and where it comes from."""
        in_service = _in_service(watch)
        content = in_service.classifier.bundle.content
        return {
            "model_name": in_service.champion.model_name,
            "model_version": in_service.champion.version,
            "run_id": in_service.champion.run_id,
            "promoted_at": in_service.champion.promoted_at,
            "bundle_digest": in_service.champion.bundle_digest,
            **content.model_dump(include={"labels", "threshold", "architecture", "patch_size"}),
            "metrics": content.metrics,
            "lineage": content.lineage,
        }


def _in_service(watch: ChampionWatch) -> InService:
    if watch.current is None:
        raise HTTPException(503, watch.problem or "The champion is still being loaded.")
    return watch.current


async def _read(files: list[UploadFile], names: list[str]) -> list[bytes]:
    if len(files) > MOST_FILES:
        raise HTTPException(413, f"{len(files)} files in one request; at most {MOST_FILES}.")
    for file, name in zip(files, names, strict=True):
        if (file.size or 0) > LARGEST_UPLOAD:
            raise HTTPException(413, f"{name} has more than {LARGEST_UPLOAD // 1024**2} MiB.")
    return [await file.read() for file in files]


def _predict(in_service: InService, names: list[str], contents: list[bytes]) -> Predictions:
    answers, now = in_service.classifier.answers(contents, names), datetime.now(UTC)
    return Predictions(
        predictions=[
            Prediction(
                file=name,
                label=answer.label,
                score=answer.score,
                threshold=answer.threshold,
                novelty=answer.novelty,
                novel=answer.novel,
                prediction_id=str(prediction_id(in_service.champion, content, now)),
                model_version=in_service.champion.version,
                run_id=in_service.champion.run_id,
            )
            for name, content, answer in zip(names, contents, answers, strict=True)
        ]
    )


async def _refuse_image(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": f"{error}. Send JPEG or PNG images."}, 415)
