"""Hold every request to its size and its time, whatever route reads it and however.

A body is counted while it arrives, so that no announced or unannounced length is believed. All
bodies that are held at a time have a limit together: many clients with large ones are told to come
again, before they take all the memory.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from fastapi import HTTPException
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.schemas.problems import RETRY_AFTER, problem
from serving.settings import MEGABYTE, ServiceSettings


class RequestLimits:
    """Refuses what is too large (413), too much (429), sent too slowly (408), or takes too long."""

    def __init__(self, app: ASGIApp, settings: ServiceSettings) -> None:
        """Wrap `app`."""
        self._app, self._settings = app, settings
        self._all = _Held(settings.max_held_mb * MEGABYTE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond as the wrapped application does, or refuse."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refused_unread(scope)
        if refusal:
            await refusal(scope, receive, send)
            return
        started = False

        async def noticed(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        body = _Body(scope, receive, self._settings, self._all)
        try:
            async with body.clock:
                await self._app(scope, body.receive, noticed)
        except TimeoutError:
            if started or not body.clock.expired():
                raise
            refusal = self._too_late(scope, body)
            await refusal(scope, receive, send)
        finally:
            body.let_go()

    def _refused_unread(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        length, coding = headers.get("content-length", ""), headers.get("content-encoding", "")
        if length.isdecimal() and int(length) > self._settings.max_upload_mb * MEGABYTE:
            return problem(scope, 413, _too_large(self._settings))
        if coding.strip().lower() not in ("", "identity"):
            said = "Compressed requests are not read: nobody knows how large they become."
            return problem(scope, 415, said)
        return None

    def _too_late(self, scope: Scope, body: _Body) -> Response:
        if body.complete:
            seconds = self._settings.answer_timeout
            return problem(scope, 504, f"No response within {seconds:g} s. Send less, or later.")
        seconds = self._settings.upload_timeout
        said = f"The request was not complete within {seconds:g} s. Send less, or smaller images."
        # What else would still come belongs to no request.
        return problem(scope, 408, said, {"Connection": "close"})


@dataclass
class _Held:
    """The bytes of bodies that are in memory."""

    most: int
    now: int = 0


class _Body:
    """The body of one request, and the time that is left for it."""

    def __init__(
        self, scope: Scope, receive: Receive, settings: ServiceSettings, everything: _Held
    ) -> None:
        self._receive, self._settings, self._all = receive, settings, everything
        self._size = 0
        headers = Headers(scope=scope)
        announced = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        #: Whether the whole body has arrived.
        self.complete = not announced
        self.clock = asyncio.timeout(
            settings.upload_timeout if announced else settings.answer_timeout
        )

    async def receive(self) -> Message:
        """Return the next part of the body."""
        message = await self._receive()
        if message["type"] == "http.request" and not self.complete:
            self._count(len(message.get("body", b"")))
            if not message.get("more_body"):
                self.complete = True
                now = asyncio.get_running_loop().time()
                self.clock.reschedule(now + self._settings.answer_timeout)
        return message

    def let_go(self) -> None:
        """Say that the body is not in memory any more."""
        self._all.now -= self._size

    def _count(self, size: int) -> None:
        self._size += size
        self._all.now += size
        if self._size > self._settings.max_upload_mb * MEGABYTE:
            raise HTTPException(413, _too_large(self._settings))
        if self._all.now > self._all.most:
            said = "Too many large uploads at the moment. Send it again in a moment."
            raise HTTPException(429, said, {"Retry-After": str(RETRY_AFTER)})


def _too_large(settings: ServiceSettings) -> str:
    return f"The request is too large; at most {settings.max_upload_mb} MiB. Send less at a time."
