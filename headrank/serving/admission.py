"""Decides at a request's headers whether it is served: key, load, shutdown, size of the body. Reads no body."""

import asyncio
import hmac
import time
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headrank.serving.metrics import Metrics
from headrank.serving.problems import Problem
from headrank.serving.settings import ServingSettings

OPEN = ("/", "/health", "/ready", "/openapi.json")
"""Paths that need no key; so do those below `PAGE`."""
PAGE = "/page/"


class Admission:
    """The number of requests in flight, and whether new ones are accepted.

    settings: the limits and the key.
    retry_after: returns the number of seconds after which a refused client should try again.
    """

    def __init__(self, settings: ServingSettings, retry_after: Callable[[], int]) -> None:
        self.settings, self.retry_after = settings, retry_after
        self.in_flight = 0
        self.draining = False

    def check(self, scope: Scope) -> None:
        """Raise `Problem` if the request is not served: 401, 503, 429 or 413."""
        headers = Headers(scope=scope)
        self._check_key(scope["path"], headers)
        if scope["method"] != "POST":
            return
        if self.draining:
            raise Problem(503, "the server is shutting down; send the request to another one")
        if self.in_flight >= self.settings.max_queue:
            seconds = self.retry_after()
            raise Problem(
                429,
                f"{self.in_flight} requests wait; try again in {seconds} s",
                limit=self.settings.max_queue,
                headers={"retry-after": str(seconds)},
            )
        size, limit = headers.get("content-length", ""), self.settings.max_body
        if size.isdecimal() and int(size[:20]) > limit:
            raise body_too_large(limit)

    def _check_key(self, path: str, headers: Headers) -> None:
        key = self.settings.api_key
        if key is None or path in OPEN or path.startswith(PAGE):
            return
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            given = headers.get("x-api-key", "")
        if not hmac.compare_digest(given.strip().encode(), key.encode()):
            raise Problem(401, "expected the API key, as `Authorization: Bearer KEY`")


def body_too_large(limit: int) -> Problem:
    """The problem of a body of more than `limit` bytes."""
    return Problem(413, f"the body has more than {limit} bytes", field="body", limit=limit)


class AdmissionMiddleware:
    """Answers refused requests, counts the others while they are in flight, and measures all."""

    def __init__(self, app: ASGIApp, admission: Admission, metrics: Metrics) -> None:
        self.app, self.admission, self.metrics = app, admission, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.monotonic(), 500

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            self.admission.check(scope)
        except Problem as problem:
            await problem.response()(scope, receive, send_and_note)
        else:
            work = scope["method"] == "POST"
            self.admission.in_flight += work
            try:
                await self.app(scope, self._within_limits(receive) if work else receive, send_and_note)
            finally:
                self.admission.in_flight -= work
        finally:
            self.metrics.count_request(scope["path"], status, time.monotonic() - start)

    def _within_limits(self, receive: Receive) -> Receive:
        """`receive`, which ends slow uploads with status 408, and large ones with 413.

        After the body it waits for the client's disconnect.
        """
        settings, size, uploading = self.admission.settings, 0, True
        deadline = asyncio.get_running_loop().time() + settings.body_seconds

        async def receive_in_time() -> Message:
            nonlocal size, uploading
            if not uploading:
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, "the body did not arrive in time") from None
            uploading = message["type"] == "http.request" and message.get("more_body", False)
            size += len(message.get("body", b""))
            if size > settings.max_body:
                raise HTTPException(413)
            return message

        return receive_in_time
