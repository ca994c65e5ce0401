"""KServe's Open Inference Protocol, version 2, over HTTP, for clients that speak it.

Source: kserve.github.io, "Open Inference Protocol (V2)" and "Binary Tensor Data Extension".
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path, Request, Response
from pydantic import BaseModel, Field

from cracks.inference.handover.champion import Champion
from serving.engine.champion_watch import ActiveModel
from serving.engine.predict import predict_pixels, predict_uploads
from serving.schemas.json_body import read_document
from serving.schemas.problems import OF_PREDICTIONS, described, schema_of
from serving.schemas.tensors import (
    FILES,
    LENGTH_HEADER,
    PIXELS,
    Asked,
    InferenceRequest,
    InferenceResponse,
    Taken,
    as_json,
    encoded,
    split_body,
    understood,
)
from serving.schemas.uploads import Upload
from serving.service import Service
from serving.telemetry.release import PROJECT, release

MODEL = "/v2/models/{name}"
VERSION = "/v2/models/{name}/versions/{version}"


Name = Annotated[str, Path(examples=["crack-classifier"])]
Version = Annotated[str, Path(examples=["3"])]


class Server(BaseModel):
    """What serves."""

    name: Annotated[str, Field(examples=[PROJECT])]
    version: Annotated[str, Field(examples=["0.1.0"])]
    extensions: Annotated[list[str], Field(examples=[["binary_tensor_data"]])]


class Live(BaseModel):
    """That the process is alive."""

    live: Annotated[bool, Field(examples=[True])]


class Readiness(BaseModel):
    """That predictions can be made."""

    ready: Annotated[bool, Field(examples=[True])]


class Tensor(BaseModel):
    """An input or output; -1 is however many images there are."""

    name: Annotated[str, Field(examples=["score"])]
    datatype: Annotated[str, Field(examples=["FP64"])]
    shape: Annotated[list[int], Field(examples=[[-1]])]


class ModelMetadata(BaseModel):
    """The champion; of its inputs a request has one."""

    name: Annotated[str, Field(examples=["crack-classifier"])]
    versions: Annotated[list[str], Field(examples=[["3"]])]
    platform: Annotated[str, Field(examples=["openvino"])]
    inputs: list[Tensor]
    outputs: list[Tensor]


BINARY: dict[str, Any] = {
    "type": "string",
    "format": "binary",
    "description": f"the JSON, and after it the bytes of tensors; {LENGTH_HEADER} says where",
}

#: What OpenAPI says of the routes of a model, and of its responses.
OF_MODELS = described(401, 404, 503, 504)
INFER: dict[str, Any] = {
    "response_model": InferenceResponse,
    "responses": {
        200: {"content": {"application/octet-stream": {"schema": BINARY}}},
        **OF_PREDICTIONS,
        **OF_MODELS,
    },
    "openapi_extra": {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": schema_of(InferenceRequest)},
                "application/octet-stream": {"schema": BINARY},
            },
        }
    },
}


def routes(service: Service) -> APIRouter:
    """Return the routes of the protocol."""
    router = APIRouter(tags=["Open Inference Protocol"])

    @router.get("/v2", responses=described(401, 504))
    async def server() -> Server:
        """Say what serves, and which extensions of the protocol it knows."""
        return Server(name=PROJECT, version=release(), extensions=["binary_tensor_data"])

    @router.get("/v2/health/live", responses=described(504))
    async def live() -> Live:
        """Say that the process is alive."""
        return Live(live=True)

    @router.get("/v2/health/ready", responses=described(503, 504))
    async def ready() -> Readiness:
        """Say whether predictions can be made."""
        with service.watch.lease():
            return Readiness(ready=True)

    @router.get(f"{MODEL}/ready", responses=OF_MODELS)
    async def model_ready(name: Name) -> Readiness:
        """Say whether that model is ready."""
        with _leased(service, name) as _:
            return Readiness(ready=True)

    @router.get(f"{VERSION}/ready", responses=OF_MODELS)
    async def version_ready(name: Name, version: Version) -> Readiness:
        """Say whether that version of the model is ready."""
        with _leased(service, name, version) as _:
            return Readiness(ready=True)

    @router.get(MODEL, responses=OF_MODELS)
    async def model(name: Name) -> ModelMetadata:
        """Tell the inputs and outputs of the model in service."""
        with _leased(service, name) as in_service:
            return _metadata(in_service)

    @router.get(VERSION, responses=OF_MODELS)
    async def version(name: Name, version: Version) -> ModelMetadata:
        """Tell the inputs and outputs of the model in service, if it is that version."""
        with _leased(service, name, version) as in_service:
            return _metadata(in_service)

    @router.post(f"{MODEL}/infer", **INFER)
    async def infer(request: Request, name: Name) -> Response:
        """Predict for a tensor of pixels (`image`), or of image files (`encoded`)."""
        return await _infer(service, request, name)

    @router.post(f"{VERSION}/infer", **INFER)
    async def infer_by_version(request: Request, name: Name, version: Version) -> Response:
        """Predict as the other route does, if that version is in service."""
        return await _infer(service, request, name, version)

    return router


@contextmanager
def _leased(service: Service, name: str, version: str | None = None) -> Iterator[ActiveModel]:
    """Hold the champion, if it is what was asked for.

    Raises:
        HTTPException: 404, it is another model or version.
        ServiceError: there is none.
    """
    with service.watch.lease() as in_service:
        champion = in_service.champion
        if name != champion.model_name or version not in (None, champion.version):
            named = f"version {champion.version} of {champion.model_name}"
            raise HTTPException(404, f"That is not in service; {named} is.")
        yield in_service


async def _infer(
    service: Service, request: Request, name: str, version: str | None = None
) -> Response:
    parts = split_body(await request.body(), request.headers.get(LENGTH_HEADER))
    with _leased(service, name, version) as in_service:
        size = in_service.classifier.bundle.content.patch_size
        outputs = _outputs(in_service)
        taken = Taken(size, service.settings.max_files, tuple(outputs))
        asked = await read_document(
            parts.document,
            service.settings,
            lambda document: understood(document, parts.tensors, taken),
        )
        if asked.pixels is not None:
            rows = await predict_pixels(service, request.scope, in_service, asked.pixels)
        else:
            files = [Upload(f"file {n}", one) for n, one in enumerate(asked.files or [], 1)]
            rows = await predict_uploads(service, request.scope, in_service, files)
        values = {output: [getattr(row, output) for row in rows] for output in outputs}
        return _response(asked, in_service.champion, values)


def _response(asked: Asked, champion: Champion, values: dict[str, list[Any]]) -> Response:
    outputs, tensors = encoded(asked, values)
    document = {
        "model_name": champion.model_name,
        "model_version": champion.version,
        **({} if asked.request.id is None else {"id": asked.request.id}),
        "parameters": {"run_id": champion.run_id},
        "outputs": outputs,
    }
    content = as_json(document)
    if not tensors:
        return Response(content, media_type="application/json")
    headers = {LENGTH_HEADER: str(len(content))}
    return Response(content + tensors, 200, headers, "application/octet-stream")


def _metadata(in_service: ActiveModel) -> ModelMetadata:
    content, champion = in_service.classifier.bundle.content, in_service.champion
    shape = [-1, content.patch_size, content.patch_size, 3]
    return ModelMetadata(
        name=champion.model_name,
        versions=[champion.version],
        platform="openvino",
        inputs=[
            Tensor(name=PIXELS, datatype="UINT8", shape=shape),
            Tensor(name=FILES, datatype="BYTES", shape=[-1]),
        ],
        outputs=[
            Tensor(name=name, datatype=kind, shape=[-1])
            for name, kind in _outputs(in_service).items()
        ],
    )


def _outputs(in_service: ActiveModel) -> dict[str, str]:
    """Return the outputs of a model, named as in the prediction log, and their types."""
    names = {"score": "FP64", "label": "BYTES", "threshold": "FP64", "prediction_id": "BYTES"}
    if in_service.classifier.bundle.novelty:
        names |= {"novelty": "FP64", "novel": "BOOL"}
    return names
