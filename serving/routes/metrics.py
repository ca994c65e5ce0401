"""`GET /metrics`: what the service counts, for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter, Response

from serving.schemas.problems import described
from serving.service import Service

EXAMPLE = """\
# HELP cracks_http_requests_total Requests served or refused.
# TYPE cracks_http_requests_total counter
cracks_http_requests_total{method="POST",route="/predict",status="200"} 1027.0
"""


def routes(service: Service) -> APIRouter:
    """Return the route of the numbers."""
    router = APIRouter(tags=["service"])
    said = {"description": "the numbers as text", "content": {"text/plain": {"example": EXAMPLE}}}

    @router.get("/metrics", response_class=Response, responses={200: said, **described(401, 504)})
    def metrics() -> Response:
        """Tell requests, latencies, batches, refusals, swaps, novelty and scores so far."""
        content, kind = service.metrics.shown()
        return Response(content, headers={"Content-Type": kind})

    return router
