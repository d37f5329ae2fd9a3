"""Serve the files of a page from memory, compressed, and with an ETag, so that a browser fetches only what changed."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from wanworker.media.threads import in_thread

#: The types of a page's files. The system's own table may lack them, or name others.
_TYPES = {
    ".js": "text/javascript",
    ".css": "text/css",
    ".html": "text/html",
    ".svg": "image/svg+xml",
    ".json": "application/json",
}

#: A smaller body is sent as it is: its head is longer than what would be saved.
_WORTH_BYTES = 1024
_LEVEL = 6


@dataclass(frozen=True, slots=True)
class Body:
    """Hold a text in both forms. `tag` names its content."""

    plain: bytes
    packed: bytes
    tag: str

    @classmethod
    def of(cls, content: bytes) -> Body:
        """Compress *content*. This takes a tenth of a second for a megabyte, so it belongs in a thread."""
        packed = gzip.compress(content, _LEVEL, mtime=0) if len(content) >= _WORTH_BYTES else content
        return cls(content, packed, f'W/"{hashlib.sha256(content).hexdigest()[:20]}"')

    def answer(self, headers: Headers, media_type: str, *, cache: str = "no-cache") -> Response:
        """Return the response to a request with *headers*: 304 if the client has it, else the form that it takes."""
        common = {"ETag": self.tag, "Cache-Control": cache, "Vary": "Accept-Encoding"}
        if self.tag in [tag.strip() for tag in headers.get("if-none-match", "").split(",")]:
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=common)
        if self.packed is self.plain or not _takes_gzip(headers):
            return Response(self.plain, media_type=media_type, headers=common)
        return Response(self.packed, media_type=media_type, headers=common | {"Content-Encoding": "gzip"})


def _takes_gzip(headers: Headers) -> bool:
    """Say whether the client reads gzip. A weight of 0 refuses it."""
    for choice in headers.get("accept-encoding", "").lower().split(","):
        name, _, weight = choice.partition(";")
        if name.strip() in {"gzip", "*"}:
            return weight.strip().replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False


class PageFiles:
    """
    Serve the files below *folder*, each read once, and the texts that *written* returns, each called once.

    Nothing else can be named.
    """

    def __init__(self, folder: Path, written: Mapping[str, Callable[[], bytes]] | None = None) -> None:
        files = (path for path in folder.rglob("*") if path.is_file())
        self._sources = {path.relative_to(folder).as_posix(): path.read_bytes for path in files} | {**(written or {})}
        self._bodies: dict[str, Body] = {}

    async def respond(self, request: Request) -> Response:
        """Return the file that the path's `name` names; without one, the page itself. Raises HTTPException (404)."""
        name = request.path_params["name"] or "index.html"
        if name not in self._sources:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        if name not in self._bodies:
            self._bodies[name] = await in_thread(lambda: Body.of(self._sources[name]()))
        return self._bodies[name].answer(request.headers, _type_of(name))


def _type_of(name: str) -> str:
    suffix = Path(name).suffix
    return _TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
