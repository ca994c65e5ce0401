"""What the service says when it refuses or fails: one line, and the id of the request."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.types import Scope

from serving.engine.batching import Overloaded
from serving.middleware.request_context import request_context

#: Seconds after which a client that was refused for now may ask again.
RETRY_AFTER = 1


class Problem(BaseModel):
    """Why a request was refused or failed, and what to do."""

    detail: Annotated[str, Field(examples=["notes.txt: not a JPEG, PNG, WebP or TIFF image."])]
    request_id: Annotated[str, Field(description="also in the log and in the header X-Request-ID")]


MEANINGS = {
    400: "the request cannot be understood",
    401: "no key, or none that is known",
    404: "there is no such address or model",
    405: "the method is not for this address",
    406: "the response cannot have the wanted type",
    408: "the request was sent too slowly",
    413: "too large, too many files or too many pixels",
    415: "a file is no readable image, or the body is of another type",
    422: "a parameter has a value that is not allowed",
    429: "too much to do at the moment; ask again after Retry-After seconds",
    503: "no champion is in service; the detail says why",
    504: "the response took too long",
}


def described(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what OpenAPI says of responses with these statuses."""
    return {status: {"model": Problem, "description": MEANINGS[status]} for status in statuses}


def schema_of(document: type[BaseModel]) -> dict[str, Any]:
    """Return what OpenAPI says of a document that FastAPI itself does not read."""
    schema = document.model_json_schema()
    resolved: dict[str, Any] = _resolved(schema, schema.pop("$defs", {}))
    return resolved


def _resolved(schema: Any, inner: dict[str, Any]) -> Any:
    """Return a schema with what it refers to in its place."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            return _resolved(inner[schema["$ref"].rpartition("/")[2]], inner)
        return {key: _resolved(value, inner) for key, value in schema.items()}
    return [_resolved(one, inner) for one in schema] if isinstance(schema, list) else schema


#: What may become of any request for predictions.
OF_PREDICTIONS = described(400, 401, 408, 413, 415, 422, 429, 503, 504)


def problem(
    scope: Scope, status: int, detail: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Return the response that says what was wrong."""
    content = {"detail": detail, "request_id": request_context(scope).request_id}
    if scope["path"].startswith("/v2/"):
        content["error"] = detail  # where clients of the Open Inference Protocol look
    return Response(
        json.dumps(content, ensure_ascii=False).encode("utf-8", "replace"),
        status,
        dict(headers or {}),
        "application/json",
    )


async def refuse(request: Request, error: Exception) -> Response:
    """Respond to what a route or the framework has refused."""
    assert isinstance(error, HTTPException)
    said = str(error.detail)
    if said == HTTPStatus(error.status_code).phrase:  # the framework's own words
        said = f"{said}: {MEANINGS[error.status_code]}. /openapi.json describes every address."
    return problem(request.scope, error.status_code, said, error.headers)


async def refuse_parameters(request: Request, error: Exception) -> Response:
    """Respond to a parameter or a document that is not as described; names the first one."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return problem(request.scope, 422, f"{place}: {first['msg']}"[:1000])


async def refuse_image(request: Request, error: Exception) -> Response:
    """Respond to a file that is no readable image."""
    if "too many pixels" in str(error):
        said = f"{error}. Send a smaller image; whole photographs go to /inspect."
        return problem(request.scope, 413, said)
    return problem(request.scope, 415, f"{error}.")


async def refuse_for_now(request: Request, error: Exception) -> Response:
    """Respond while there is no champion."""
    return problem(request.scope, 503, str(error), {"Retry-After": str(RETRY_AFTER)})


async def refuse_busy(request: Request, error: Exception) -> Response:
    """Respond while too many patches wait for the network."""
    assert isinstance(error, Overloaded)
    return problem(request.scope, 429, str(error), {"Retry-After": str(error.retry_after)})
