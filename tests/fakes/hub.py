"""
A Hugging Face hub on loopback, of the routes that a download uses, which breaks off and lies when told to.

* `GET /api/models/ORG/NAME?blobs=true`: the files with size, blob id, and the sha256 of those kept by LFS
* `GET /ORG/NAME/resolve/COMMIT/PATH`: the bytes of a small file, and for LFS a redirect to /cdn
* `GET /cdn/...`: the bytes, by Range too
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"

#: What is kept by LFS, here as on the hub told by its ending.
_LFS_ENDINGS = (".safetensors", ".pth", ".ckpt", ".onnx", ".model")


@dataclass
class FakeHub:
    """
    What it holds (`files`: repository -> path -> bytes), how it misbehaves, and what it was asked.

    `breaks_after` breaks off the first download that reaches so many bytes into a file, `stalls_after` stops sending
    there until `goes_on` is set, and `refuses_from` answers every download that reaches them with 403.
    `serves` are other bytes than the listing speaks of; `ignores_ranges` sends the whole file for a part; `token`, when
    set, must be sent to the hub, and `gated` repositories want an accepted licence as well.
    """

    url: str = ""
    cdn_url: str = ""
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    breaks_after: dict[str, int] = field(default_factory=dict)
    stalls_after: dict[str, int] = field(default_factory=dict)
    goes_on: threading.Event = field(default_factory=threading.Event)
    refuses_from: dict[str, int] = field(default_factory=dict)
    ignores_ranges: bool = False
    serves: dict[str, bytes] = field(default_factory=dict)
    token: str | None = None
    gated: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    tokens_at_cdn: list[str | None] = field(default_factory=list)

    def add(self, repository: str, folder: Path) -> None:
        """Hold every file below *folder*."""
        found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        self.files.setdefault(repository, {}).update(found)

    def downloads(self) -> list[str]:
        """Return what was downloaded, as `path` or `path from byte N`, in its order."""
        return [line.removeprefix("download ") for line in self.asked if line.startswith("download ")]


def is_lfs(path: str) -> bool:
    return path.endswith(_LFS_ENDINGS)


def blob_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    """Run a hub, and its CDN on a port of its own, until the block ends."""
    hub = FakeHub()

    class Handler(_Handler):
        """A handler for this hub alone: the server makes one for each request."""

    Handler.hub = hub
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Handler) for _ in range(2)]
    threads = [threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}) for server in servers]
    for server, thread in zip(servers, threads, strict=True):
        server.daemon_threads = True
        thread.start()
    hub.url, hub.cdn_url = (f"http://127.0.0.1:{server.server_port}" for server in servers)
    try:
        yield hub
    finally:
        hub.goes_on.set()
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            server.server_close()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if path.startswith("/cdn/"):
            self.hub.tokens_at_cdn.append(self.headers.get("authorization"))
            repository, _, name = path.removeprefix("/cdn/").partition("/resolve/")
            self._send_file(repository, name)
        elif not self._may():
            self._send(401, {"error": "Invalid credentials in Authorization header"})
        elif path.startswith("/api/models/"):
            self._send_listing(path.removeprefix("/api/models/"))
        else:
            repository, _, rest = path.removeprefix("/").partition("/resolve/")
            self._resolve(repository, rest.partition("/")[2])

    def _resolve(self, repository: str, name: str) -> None:
        """Send a small file, and for a large one the address of its bytes, as the hub does."""
        if repository in self.hub.gated:
            self._send(403, {"error": "Access is restricted"}, **{"X-Error-Code": "GatedRepo"})
        elif is_lfs(name):
            place = f"{self.hub.cdn_url}/cdn/{repository}/resolve/{quote(name)}"
            self._send_headers(302, {"Location": place, "Content-Length": "0"})
        else:
            self._send_file(repository, name)

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _may(self) -> bool:
        return self.hub.token is None or self.headers.get("authorization") == f"Bearer {self.hub.token}"

    def _send_listing(self, repository: str) -> None:
        self.hub.asked.append(f"list {repository}")
        files = self.hub.files.get(repository)
        if files is None:
            self._send(404, {"error": "Repository not found"}, **{"X-Error-Code": "RepoNotFound"})
            return
        siblings = []
        for name, data in sorted(files.items()):
            entry: dict[str, object] = {"rfilename": name, "size": len(data), "blobId": blob_id(data)}
            if is_lfs(name):
                entry["lfs"] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "pointerSize": 130}
            siblings.append(entry)
        self._send(200, {"id": repository, "sha": COMMIT, "siblings": siblings, "private": False, "tags": []})

    def _send_file(self, repository: str, name: str) -> None:
        data = self.hub.serves.get(name, self.hub.files.get(repository, {}).get(name))
        if data is None:
            self._send(404, {"error": "no such file"})
            return
        start, end = self._range(len(data))
        if self.hub.refuses_from.get(name, end) < end:
            self._send(403, {"error": "not now"})
            return
        self.hub.asked.append(f"download {name}" + (f" from byte {start}" if start else ""))
        headers = {"Content-Length": str(end - start), "ETag": "x", "Accept-Ranges": "bytes"}
        if (start, end) != (0, len(data)):
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
        self._send_headers(206 if "Content-Range" in headers else 200, headers)
        broken, stalled = (
            self._reached(faults, name, start, end) for faults in (self.hub.breaks_after, self.hub.stalls_after)
        )
        self.wfile.write(data[start : min(broken, stalled)])
        if stalled < end:
            self.hub.goes_on.wait(30)
        self.close_connection = min(broken, stalled) < end

    def _range(self, size: int) -> tuple[int, int]:
        wanted = self.headers.get("Range", "").removeprefix("bytes=")
        if not wanted or self.hub.ignores_ranges:
            return 0, size
        start, _, last = wanted.partition("-")
        return int(start), int(last) + 1 if last else size

    def _reached(self, faults: dict[str, int], name: str, start: int, end: int) -> int:
        """Return where this download has to end: at *end*, unless it reaches the fault, which is used up."""
        with self.hub.lock:
            return faults.pop(name) if start <= faults.get(name, end) < end else end

    def _send(self, status: int, value: object, **headers: str) -> None:
        body = json.dumps(value).encode()
        self._send_headers(status, {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers})
        self.wfile.write(body)

    def _send_headers(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
