"""What happens around a route: failures and slow routes get a response too."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path

import httpx
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from cracks.monitoring.request_counts import RequestCounts
from serving.middleware.request_limits import RequestLimits
from serving.middleware.request_log import RequestLog
from serving.settings import ServiceSettings
from serving.telemetry.metrics import Metrics


async def fails(scope: Scope, receive: Receive, send: Send) -> None:
    raise RuntimeError("the secret word is plum")


async def sleeps(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.sleep(30)


def asked(app: ASGIApp) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(RequestLog(app, Metrics(), RequestCounts("unused")))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get("/somewhere")

    return asyncio.run(ask())


def test_a_failure_is_told_to_the_log_and_not_to_the_client(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, "serving"):
        response = asked(fails)
    assert response.status_code == 500
    assert "plum" not in response.text
    assert response.json()["request_id"] == response.headers["X-Request-ID"]
    (failed,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert failed.exc_info is not None
    assert "the secret word is plum" in str(failed.exc_info[1])
    (line,) = [record for record in caplog.records if record.levelno == logging.INFO]
    assert line.__dict__["status"] == 500


def test_a_response_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    settings = ServiceSettings(service=tmp_path, answer_timeout=0.05)
    response = asked(RequestLimits(sleeps, settings))
    assert response.status_code == 504
    assert "No response within 0.05 s" in json.loads(response.content)["detail"]
