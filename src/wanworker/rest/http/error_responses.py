"""Render every failure as JSON of one form: `error` for people, `code` for programs, and `field`."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from wanworker.actions.request.complaints import complaints
from wanworker.errors import InvalidRequest, WorkerError
from wanworker.jobs.runner import QueueFull
from wanworker.rest.http.errors import BrokenRequest, Busy, HeadTooLarge, Slow, TooLarge, Unauthorized
from wanworker.serverless.answer import strict
from wanworker.text.printable import one_line
from wanworker.videos import errors as video_errors

log = logging.getLogger(__name__)

#: After these errors the connection is closed: what follows may not be a request, or the server needs the connection.
_CLOSING = BrokenRequest | Busy | HeadTooLarge | Slow | TooLarge


class Failure(BaseModel):
    """Describe why a request failed."""

    error: str = Field(description="What is wrong, and what was expected.")
    detail: str = Field(description="The same, where FastAPI's clients look for it.")
    code: str = Field(description="A stable name of the failure, for programs.")
    hint: str = Field(description="What to do about it.")
    field: str | None = Field(default=None, description="The field of the request that is wrong.")


def answer(content: Mapping[str, Any], status_code: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return strict JSON, so that NaN and lone surrogates, which a caller's prompt may have, never cause a 500."""
    return JSONResponse(strict(content), status_code=status_code, headers=dict(headers or {}))


def failure(error: WorkerError, path: str = "") -> Response:
    """Return *error* as a response, with the headers that its status needs. *path* decides which form it has."""
    headers = {"Connection": "close"} if isinstance(error, _CLOSING) else {}
    if isinstance(error, QueueFull | Busy):
        headers["Retry-After"] = str(math.ceil(error.retry_after_s))
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = "Bearer"
    text = str(error) or error.code
    return _shaped(text, error.http_status, headers, path, code=error.code, hint=error.hint, field=error.field)


def _shaped(
    text: str,
    status: int,
    headers: Mapping[str, str],
    path: str,
    *,
    code: str,
    hint: str,
    field: str | None = None,
) -> Response:
    """Return a failure in the form of the routes at *path*."""
    if not path.startswith(video_errors.PREFIX):
        body = {"error": text, "detail": text, "code": code, "hint": hint}
        return answer(body | ({"field": field} if field else {}), status, headers)
    video_body = video_errors.error_object(text, http_status=status, code=code, param=field, hint=hint)
    # The clients of this wire send a request again after a 409, which would answer the same.
    more = {"x-should-retry": "false"} if status == HTTPStatus.CONFLICT else {}
    return answer(video_body, video_errors.status_for(status), {**headers, **more})


def _in_words(request: Request, error: HTTPException) -> str:
    """Say in a sentence what FastAPI's two-word answers mean."""
    place = one_line(request.url.path)[:120]
    if error.status_code == HTTPStatus.NOT_FOUND:
        return f"This server has nothing at {place}."
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return f"{place} does not take {one_line(request.method)[:20]}."
    return str(error.detail)


def responses(*statuses: int, model: type[BaseModel] = Failure) -> dict[int | str, dict[str, Any]]:
    """Return the schema of a route's failures."""
    return {status: {"model": model, "description": HTTPStatus(status).phrase} for status in statuses}


def install(app: FastAPI) -> None:
    """Make *app* answer every failure in this form."""

    @app.exception_handler(WorkerError)
    async def _worker_error(request: Request, error: WorkerError) -> Response:
        if error.http_status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            log.warning("%s: %s", error.code, error)
        return failure(error, request.url.path)

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> Response:
        item = error.errors()[0]
        name = str(item["loc"][-1])
        # The first part of the place is "query" or "path", which does not belong to the name.
        detail: Any = {**item, "loc": item["loc"][1:]}
        return failure(InvalidRequest(complaints([detail]), field=name), request.url.path)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        text = _in_words(request, error)
        code, hint = HTTPStatus(error.status_code).name, "See /docs for what this server answers."
        return _shaped(text, error.status_code, error.headers or {}, request.url.path, code=code, hint=hint)

    @app.exception_handler(Exception)
    async def _unforeseen(request: Request, _error: Exception) -> Response:
        # Starlette raises the error again after this answer, and uvicorn then logs it.
        return failure(WorkerError("Internal error; see the server's log."), request.url.path)
