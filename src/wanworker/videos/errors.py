"""Show a failure as clients of this wire read it: `{"error": {"message", "type", "param", "code"}}`. Pure."""

from __future__ import annotations

from http import HTTPStatus

from pydantic import BaseModel, Field

#: The routes whose failures have this form.
PREFIX = "/v1/"

_TYPES = {
    HTTPStatus.UNAUTHORIZED: "authentication_error",
    HTTPStatus.FORBIDDEN: "permission_error",
    HTTPStatus.NOT_FOUND: "not_found_error",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_error",
}


class ErrorObject(BaseModel):
    """Say what is wrong."""

    message: str = Field(description="What is wrong, what was expected, and what to do about it.")
    type: str = Field(description="A kind of failure, by its HTTP status.")
    param: str | None = Field(description="The field of the request that is wrong.")
    code: str | None = Field(description="A stable name of the failure; see [errors](errors.md).")


class VideoFailure(BaseModel):
    """Hold the failure of a request to `/v1/videos`."""

    error: ErrorObject


def status_for(http_status: int) -> int:
    """Return the HTTP status on this wire: a field that is wrong is 400, where our other routes answer 422."""
    return HTTPStatus.BAD_REQUEST if http_status == HTTPStatus.UNPROCESSABLE_ENTITY else http_status


def error_object(
    message: str, *, http_status: int, code: str | None, param: str | None, hint: str
) -> dict[str, object]:
    """Return the body of a failure. This form has no place for the hint, so it becomes a part of the message."""
    status = HTTPStatus(status_for(http_status))
    kind = "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
    text = f"{message} {hint}".strip()
    return {"error": {"message": text, "type": _TYPES.get(status, kind), "param": param, "code": code}}
