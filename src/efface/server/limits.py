"""What every call is held to: how large, how slow, how often; and the headers that every answer carries."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from threading import Lock

from fastapi import HTTPException
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BODY = 1 << 20
MOST_UPLOAD = 32 << 20
MOST_FORM = 100 << 20
"""Bytes of a body: JSON and forms, one photo, a form with photos."""
TOO_LARGE = "the body is larger than {} MiB"
RECEIVE_SECONDS = 60.0
"""By when a body must have come in."""
MOST_KEYS = 20_000
"""Callers whose rates are kept."""
HEADERS = {
    # no script, nothing from elsewhere, nobody's window around it
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "X-Robots-Tag": "noindex, nofollow",
    "Cache-Control": "no-store",
}
RAW_HEADERS = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]


class TooLarge(HTTPException):
    """A body is larger than it may be, or comes too slowly."""


class Guard:
    """Bounds bodies in size and time, and writes the headers of every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(one for one in RAW_HEADERS if one[0] not in given),
                ]
            await send(message)

        if scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self.app(scope, receive, with_headers)
            return
        most, begun, got, ended = _most(scope["path"]), time.monotonic(), 0, False
        stated = Headers(scope=scope).get("content-length", "")

        async def bounded() -> Message:
            nonlocal got, ended
            if ended:
                return await receive()
            left = RECEIVE_SECONDS - (time.monotonic() - begun)
            try:
                message = await asyncio.wait_for(receive(), max(left, 0.001))
            except TimeoutError:
                raise TooLarge(408, f"the body did not come in within {RECEIVE_SECONDS:.0f} s") from None
            got += len(message.get("body", b""))
            if got > most:
                raise TooLarge(413, TOO_LARGE.format(most >> 20))
            ended = not message.get("more_body")
            return message

        if stated.isdecimal() and int(stated) > most:
            text = TOO_LARGE.format(most >> 20)
            answer = JSONResponse({"message": text, "problems": [text]}, 413, {"connection": "close"})
            await answer(scope, receive, with_headers)
        else:
            await self.app(scope, bounded, with_headers)


class Rates:
    """How often each caller may call: `per_minute`, in bursts of as many at once."""

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = Lock()

    def wait(self, caller: str, count: bool = True) -> int:
        """Seconds that a caller must wait; 0 where a call is within the rate, which is then counted."""
        now = time.monotonic()
        with self._lock:
            left, at = self._left.pop(caller, (float(self.per_minute), now))
            left = min(float(self.per_minute), left + (now - at) * self.per_minute / 60)
            enough = left >= 1
            self._left[caller] = (left - 1 if enough and count else left, now)
            if len(self._left) > MOST_KEYS:
                self._left.popitem(last=False)
        return 0 if enough else int((1 - left) * 60 / self.per_minute) + 1


def _most(path: str) -> int:
    if path.startswith("/api/") and path.endswith("/photos"):
        return MOST_UPLOAD
    return MOST_FORM if path == "/officer/new" else MOST_BODY
