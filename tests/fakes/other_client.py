"""
A client of ComfyUI that is not ours: `requests` and `websocket-client`, which know nothing of `wanworker.comfyui`.

Here too: the fake ComfyUI in a thread of its own, for such clients wait for each answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import requests
import websocket

from fakes.comfyui import FakeComfyUI

#: How long a message, or an answer, may take.
PATIENCE_S = 30.0


@dataclass(frozen=True)
class Message:
    """One message of a websocket; the `data` of a preview say which `event` it was, and its `picture` follows."""

    kind: str
    data: dict[str, Any]
    picture: bytes = b""


@dataclass
class OtherClient:
    """A session of requests to a ComfyUI, and websockets to it under one client id."""

    url: str
    token: str | None = None
    client_id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        self.session = requests.Session()
        self.session.trust_env = False
        self.headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        self.session.headers.update(self.headers)

    def close(self) -> None:
        """Let go of the connections."""
        self.session.close()

    def ask(self, method: str, path: str, **kwargs: Any) -> requests.Response:
        """Send one request, and return the answer whatever its status."""
        return self.session.request(method, f"{self.url}{path}", timeout=PATIENCE_S, **kwargs)

    @contextlib.contextmanager
    def listening(self, query: str | None = None) -> Iterator[Socket]:
        """Open a websocket for the block; *query* stands in for the one with the client id."""
        query = f"?clientId={self.client_id}" if query is None else query
        address = f"ws{self.url.removeprefix('http')}/ws{query}"
        opened = websocket.create_connection(address, timeout=PATIENCE_S, header=self.headers)
        try:
            yield Socket(opened)
        finally:
            opened.close()

    def queue(self, graph: dict[str, Any]) -> str:
        """Queue *graph* under the client id, and return the id that the server gave it."""
        answer = self.ask("POST", "/prompt", json={"prompt": graph, "client_id": self.client_id})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["prompt_id"])

    def history(self, prompt_id: str) -> dict[str, Any]:
        """Return what /history says of a prompt: nothing, or its entry under its id."""
        return dict(self.ask("GET", f"/history/{prompt_id}").json())


@dataclass
class Socket:
    """An open websocket."""

    opened: websocket.WebSocket

    def say(self, kind: str, data: dict[str, Any]) -> None:
        """Send a message."""
        self.opened.send(json.dumps({"type": kind, "data": data}))

    def until(self, kind: str, **wanted: Any) -> list[Message]:
        """Receive until a message of *kind* with the *wanted* data, and return all that came, that one last."""
        heard: list[Message] = []
        end = time.monotonic() + PATIENCE_S
        while not heard or heard[-1].kind != kind or wanted != {name: heard[-1].data.get(name) for name in wanted}:
            assert time.monotonic() < end, f"no {kind} within {PATIENCE_S} s, but {heard}"
            heard.append(_read(*self.opened.recv_data()))
        return heard


def _read(opcode: int, data: bytes) -> Message:
    if opcode == websocket.ABNF.OPCODE_TEXT:
        told = json.loads(data)
        return Message(told["type"], told["data"])
    assert opcode == websocket.ABNF.OPCODE_BINARY, (opcode, data)
    event, second = struct.unpack(">II", data[:8])
    if event == 4:
        return Message("preview", {"event": 4, **json.loads(data[8 : 8 + second])}, data[8 + second :])
    return Message("preview" if event == 1 else "binary", {"event": event, "format": second}, data[8:])


@contextlib.contextmanager
def in_a_thread(server: FakeComfyUI) -> Iterator[FakeComfyUI]:
    """Run *server* in a thread until the block ends."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(PATIENCE_S)
        yield server
        asyncio.run_coroutine_threadsafe(server.die(), loop).result(PATIENCE_S)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
