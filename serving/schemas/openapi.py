"""The description of the interface (OpenAPI): what FastAPI derives, and what it cannot know."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from serving.middleware.api_keys import is_open
from serving.schemas.problems import Problem
from serving.telemetry.release import release

TITLE = "Concrete crack classifier"
SUMMARY = "Says `crack` or `no crack` for photographs of concrete."
TEXT = """\
Send patches to `/predict`, and whole photographs to `/inspect`. Every prediction names its
model, has an id that `cracks trace` follows back to the training data, and tells whether the image
is unlike what the model was trained on: then do not trust it.

A refusal has `detail`, one line that says what to do, and `request_id`.
"""

TAGS = [
    {"name": "answers", "description": "Predictions for images."},
    {"name": "service", "description": "The model in service, and how the service is."},
    {"name": "pipeline", "description": "How the pipeline around the model is doing."},
    {"name": "MLflow", "description": "As `mlflow models serve` responds."},
    {"name": "Open Inference Protocol", "description": "KServe's protocol, version 2."},
]

#: Two ways to give a key; either will do.
KEYS = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}

#: How every refusal is described; FastAPI knows neither those of parameters nor text responses.
REFUSAL = {"application/json": {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}}

PATH = "/openapi.json"


def describe(app: FastAPI, *, keys: bool) -> None:
    """Let the app describe itself completely; the description is made once, when asked for.

    Args:
        app: with all its routes.
        keys: whether a key is wanted.
    """

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _described(app, keys)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]

    @app.get(PATH, include_in_schema=False)
    def description() -> dict[str, Any]:
        return openapi()


def _described(app: FastAPI, wants_keys: bool) -> dict[str, Any]:
    schema = get_openapi(
        title=TITLE,
        version=release(),
        summary=SUMMARY,
        description=TEXT,
        routes=app.routes,
        tags=TAGS,
    )
    components = schema["components"]
    for name in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(name, None)
    if wants_keys:
        components["securitySchemes"] = KEYS
        schema["security"] = [{name: []} for name in KEYS]
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            if wants_keys and is_open(path):
                operation["security"] = []
            for status, response in operation["responses"].items():
                if status >= "400":
                    response["content"] = REFUSAL
    return schema
