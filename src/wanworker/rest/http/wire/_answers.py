"""Add `Connection: close` to an answer, and write answers to requests that no application saw."""

from __future__ import annotations

import http
from collections.abc import Callable
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from wanworker.errors import WorkerError
from wanworker.rest.http.error_responses import failure


def closing(app: Any, is_early: Callable[[Scope], bool]) -> Any:
    """Return *app* so that an answer that comes before the body has arrived (*is_early*) says `Connection: close`."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        async def completed(message: Message) -> None:
            if message["type"] == "http.response.start" and is_early(scope):
                message = {**message, "headers": _with_close(message.get("headers", ()))}
            await send(message)

        await app(scope, receive, completed)

    return answer


def as_bytes(error: WorkerError) -> bytes:
    """Return the whole answer to a request that no application saw."""
    response = failure(error)
    status = http.HTTPStatus(response.status_code)
    lines = [f"HTTP/1.1 {status.value} {status.phrase}".encode()]
    lines += [name + b": " + value for name, value in _with_close(response.raw_headers)]
    return b"\r\n".join([*lines, b"", bytes(response.body)])


def _with_close(headers: Any) -> list[tuple[bytes, bytes]]:
    return [*((name, value) for name, value in headers if name.lower() != b"connection"), (b"connection", b"close")]
