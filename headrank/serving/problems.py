"""Errors of requests as JSON. The body has the keys that clients of Cohere (`message`) and TEI (`error`) read."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.responses import JSONResponse

TYPES = {
    401: "unauthorized",
    404: "not_found",
    405: "method_not_allowed",
    408: "timeout",
    413: "too_large",
    422: "validation",
    429: "overloaded",
    499: "client_closed_request",
    503: "unavailable",
}
"""HTTP status -> the `error_type` of the body."""

DIALECT = "dialect:"  # begins the tags of the schemas of a route with several
_UNION_TAGS = ("str", "dict[str,any]", "list[str]")  # what pydantic appends to the location of a union's member


class AsciiJSONResponse(JSONResponse):
    """JSON with escapes for characters beyond ASCII: lone surrogates, which a request may contain, have no UTF-8."""

    def render(self, content: Any) -> bytes:
        """The body."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


class Problem(Exception):
    """A request that cannot be answered.

    status: the HTTP status.
    field: the field of the request's body that is wrong, such as `documents[3]`; `body` for the whole.
    limit: the limit that the field exceeds.
    headers: HTTP headers of the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        field: str | None = None,
        limit: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.field, self.limit, self.headers = status, message, field, limit, headers

    def response(self) -> JSONResponse:
        """The answer: `{"message", "error", "error_type", "field", "limit"}`, the last two if they are known."""
        kind = TYPES.get(self.status, "bad_request" if self.status < 500 else "internal")
        known = {"field": self.field, "limit": self.limit}
        body = {"message": self.message, "error": self.message, "error_type": kind}
        body |= {name: value for name, value in known.items() if value is not None}
        return AsciiJSONResponse(body, self.status, headers=dict(self.headers or {}))


def invalid_body(error: RequestValidationError) -> Problem:
    """The problem of a body that does not match its schema: the first error, and the number of the others.

    The message contains no text of the request.
    """
    first, *others = error.errors()
    path = field_path(first["loc"])
    more = f" (and {len(others)} more)" if others else ""
    limits = (value for name, value in (first.get("ctx") or {}).items() if name in ("ge", "min_length"))
    return Problem(422, f"{path}: {first['msg']}{more}", field=path, limit=next(limits, None))


def field_path(location: Sequence[str | int]) -> str:
    """The name of a field, such as `documents[3].text`, from pydantic's location of an error."""
    path = ""
    for part in location[1:] if location and location[0] == "body" else location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif not part.startswith(DIALECT) and part not in _UNION_TAGS:
            path += f".{part}" if path else part
    return path or "body"
