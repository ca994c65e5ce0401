"""Give every request an id, a line in the log, its place in the metrics, and always a response.

What was in an image, the names of files, and keys are never logged.
"""

from __future__ import annotations

import logging
import re
import secrets

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cracks.monitoring.request_counts import RequestCounts
from serving.middleware.request_context import REQUEST_CONTEXT, RequestContext
from serving.schemas.problems import problem
from serving.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

#: Ids of a client or proxy that are taken over; anything else might forge lines of a log.
SAFE_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
ID_HEADER = b"x-request-id"

#: The route of an address that there is not.
UNKNOWN = "unknown"

#: In place of a status where the client left before it had its response, as in nginx.
GONE = 499

#: The routes whose failures are watched: those that return predictions.
COUNTED = (
    "/predict",
    "/inspect",
    "/invocations",
    "/v2/models/{name}/infer",
    "/v2/models/{name}/versions/{version}/infer",
)

#: The methods that there are. A client may send any word, and each would be a series of its own.
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class RequestLog:
    """The layer in which every request ends, whatever becomes of it further inside."""

    def __init__(self, app: ASGIApp, metrics: Metrics, counts: RequestCounts) -> None:
        """Wrap `app`, and count in `metrics`, and in `counts` for monitoring."""
        self._app, self._metrics, self._counts = app, metrics, counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to a request, count it and log it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        notes = scope[REQUEST_CONTEXT] = RequestContext(_id_of(scope))
        status = 0

        async def with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message.get("headers", []),
                    (ID_HEADER, notes.request_id.encode()),
                ]
            try:
                await send(message)
            except (OSError, RuntimeError) as error:  # what uvloop raises for a closed connection
                raise ClientDisconnect from error

        try:
            await self._app(scope, receive, with_id)
        except ClientDisconnect:
            status = GONE
        except Exception:
            facts = {"request_id": notes.request_id}
            logger.exception("a request failed", extra=facts)
            if not status:
                said = "The service failed; its log tells why under this request_id."
                await problem(scope, 500, said)(scope, receive, with_id)
            status = 500
        finally:
            self._tell(scope, notes, status)

    def _tell(self, scope: Scope, notes: RequestContext, status: int) -> None:
        route = getattr(scope.get("route"), "path", UNKNOWN)
        method = scope["method"] if scope["method"] in METHODS else UNKNOWN
        milliseconds = notes.milliseconds
        self._metrics.request(method, route, status, milliseconds / 1000)
        if route in COUNTED:
            self._counts.count(status)
        facts = {
            "request_id": notes.request_id,
            "method": method,
            "path": route,
            "status": status,
            "milliseconds": milliseconds,
            "images": notes.images,
            "key": notes.key,
            "model_version": notes.model_version,
        }
        logger.info("answered" if status < 400 else "refused", extra=facts)


def _id_of(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == ID_HEADER and SAFE_ID.fullmatch(value):
            return str(value, "ascii")
    return secrets.token_hex(16)
