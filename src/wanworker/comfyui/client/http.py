"""
Call the HTTP interface of a ComfyUI server, one method for each route.

It uses aiohttp and not requests or websocket-client: every wait here must be cancellable, and those two block a thread
that nobody can stop. monitor.py follows a prompt while it runs.
"""

from __future__ import annotations

import asyncio
import mimetypes
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import quote

import aiohttp

from wanworker.comfyui.client._download import download
from wanworker.comfyui.client._jobs import Jobs, Queue
from wanworker.comfyui.client.connection import LARGEST_ANSWER_BYTES, Connection, ServerRefused, as_object
from wanworker.comfyui.client.history import OutputFile
from wanworker.comfyui.graph.api_format import Graph
from wanworker.comfyui.graph.problems import SERVER_FOLDERS, Problem
from wanworker.comfyui.graph.refusal import problems_in, refused
from wanworker.errors import EngineFailed, InputRefused

__all__ = ["ComfyClient", "Queue", "Submitted", "Uploaded"]

#: The limit for slow answers, in seconds: listing every node class, or checking a graph against slow folders.
_SLOW_ANSWER_S = 60.0

#: Seconds between two pings, which find a dead server. A server that loads a model may not answer for some seconds.
_HEARTBEAT_S = 30.0


@dataclass(frozen=True, slots=True)
class Submitted:
    """
    Hold a queued prompt. `problems` are those of output nodes that the server leaves out while it runs the others.
    """

    prompt_id: str
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Uploaded:
    """Hold a file in the server's folders. `value` is how an input of a graph names it."""

    name: str
    subfolder: str = ""
    type: str = field(default="input")

    @property
    def value(self) -> str:
        """Return the value for the input of LoadImage and similar nodes."""
        path = f"{self.subfolder}/{self.name}" if self.subfolder else self.name
        return path if self.type == "input" else f"{path} [{self.type}]"


class FoundGood(NamedTuple):
    """
    Hold the last graph that was found good, the classes that it was checked with, and what it is told each time
    (run/validate.py).
    """

    graph: Graph
    classes: Mapping[str, Mapping[str, Any]]
    remarks: tuple[str, ...]


class ComfyClient:
    """
    Talk to one ComfyUI server.

    *base_url* is http or https. *token* is sent as a bearer token with every request and the websocket. *connect_s* and
    *answer_s* limit the wait for a server that does not answer (EngineUnavailable), *idle_s* the silence within a
    file's transfer; all in seconds. *models_place* is the models folder that messages name.
    """

    def __init__(
        self,
        base_url: str,
        *,
        token: str | None = None,
        connect_s: float = 4.0,
        answer_s: float = 8.0,
        idle_s: float = 60.0,
        models_place: str = SERVER_FOLDERS,
    ) -> None:
        self._http = Connection(base_url, token=token, connect_s=connect_s, answer_s=answer_s, idle_s=idle_s)
        self._jobs = Jobs(self._http)
        self._models_place = models_place
        self._classes: dict[str, Mapping[str, Any]] = {}
        self.found_good: FoundGood | None = None

    @property
    def models_place(self) -> str:
        """Return the models folder that messages name."""
        return self._models_place

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._http.close()

    async def system_stats(self) -> dict[str, Any]:
        """Return the server's version, devices and arguments. A server answers this as soon as it is up."""
        return as_object(await self._http.json("GET", "/system_stats"), "/system_stats")

    async def submit(
        self, graph: Graph, *, prompt_id: str, client_id: str, extra: Mapping[str, Any] | None = None
    ) -> Submitted:
        """
        Queue *graph* under our own *prompt_id* (a lower-case UUID: newer servers refuse any other).

        Only the websocket of *client_id* gets events of the run, and without a client id cached outputs never reach the
        history. *extra* is `extra_data`. Raises GraphRefused or ModelNotFound with the server's reasons.
        """
        body = {"prompt": graph, "prompt_id": prompt_id, "client_id": client_id, "extra_data": dict(extra or {})}
        try:
            answer = await self._http.json("POST", "/prompt", body, answer_s=_SLOW_ANSWER_S)
        except ServerRefused as error:
            if error.answered != 400:
                raise
            known = dict(self._classes)
            self.drop_object_info()
            raise refused(error.body, known, models_place=self._models_place) from error
        told = as_object(answer, "/prompt")
        problems = problems_in(told, self._classes) if told.get("node_errors") else ()
        return Submitted(str(told.get("prompt_id", prompt_id)), problems)

    async def cancel(self, prompt_id: str) -> None:
        """Ask the server once to end this prompt, queued or running, and no other one. _jobs.py has the routes."""
        await self._jobs.cancel(prompt_id)

    async def queue(self) -> Queue:
        """Return the ids of all running and waiting prompts."""
        return await self._jobs.queue()

    async def history(self, prompt_id: str) -> Mapping[str, Any]:
        """Return the history entry of a prompt that has ended, or an empty mapping before."""
        told = as_object(await self._http.json("GET", f"/history/{quote(prompt_id, safe='')}"), "/history")
        entry = told.get(prompt_id)
        return entry if isinstance(entry, dict) else {}

    async def node_classes(self, names: Iterable[str], *, anew: bool = False) -> dict[str, Mapping[str, Any]]:
        """
        Return object_info of these classes, from the cache if possible and unless all are asked for *anew*. Unknown
        classes are left out.
        """
        missing = sorted({name for name in names if anew or name not in self._classes})
        found = await asyncio.gather(*(self._fetch_class(name) for name in missing))
        self._classes.update({name: info for name, info in zip(missing, found, strict=True) if info})
        return {name: self._classes[name] for name in names if name in self._classes}

    async def _fetch_class(self, name: str) -> Mapping[str, Any]:
        path = f"/object_info/{quote(name, safe='')}"
        told = await self._http.json("GET", path, answer_s=_SLOW_ANSWER_S)
        info = as_object(told, path).get(name)
        return info if isinstance(info, dict) else {}

    async def object_info(self) -> dict[str, Mapping[str, Any]]:
        """Return object_info of every class (a megabyte or more), and keep it in the cache."""
        told = await self._http.json("GET", "/object_info", answer_s=_SLOW_ANSWER_S)
        self._classes = {name: info for name, info in as_object(told, "/object_info").items() if isinstance(info, dict)}
        return dict(self._classes)

    def drop_object_info(self) -> None:
        """Forget the cached classes, for example after a restart of the server, a model upload or a refusal."""
        self._classes = {}

    async def models(self, folder: str) -> tuple[str, ...]:
        """Return the files of one models folder (diffusion_models, vae, loras ...), sorted."""
        try:
            told = await self._http.json("GET", f"/models/{quote(folder, safe='')}")
        except ServerRefused as error:
            if error.answered != 404:
                raise
            raise EngineFailed(f"The ComfyUI server has no models folder {folder!r}.") from error
        return tuple(sorted(name for name in told if isinstance(name, str))) if isinstance(told, list) else ()

    async def free(self, *, unload_models: bool = True, free_memory: bool = True) -> None:
        """Ask the server to drop models and cached results once it is idle."""
        await self._http.json("POST", "/free", {"unload_models": unload_models, "free_memory": free_memory})

    async def upload(self, path: Path, *, name: str, subfolder: str = "", overwrite: bool = False) -> Uploaded:
        """
        Upload the file at *path* as *name*, streamed. Use the answer's `value`: the server may have renamed it.

        Images, audio and video use one route. *name* is a plain file name that the caller has made. With *overwrite*
        false, the same bytes keep the name and other bytes get a number. Raises InputRefused for a name with a path in
        it, and for a file over the server's limit (100 MB by default).
        """
        for part in (name, *filter(None, subfolder.split("/"))):
            if part in {"", ".", ".."} or "/" in part or "\\" in part or len(part.encode()) > 200:
                raise InputRefused(f"An upload's name is a plain file name; got {part[:80]!r}.")
        with path.open("rb") as file:
            # With quoting, the server would keep the name's percent signs.
            form = aiohttp.FormData(quote_fields=False)
            for key, value in (("type", "input"), ("subfolder", subfolder), ("overwrite", str(overwrite).lower())):
                form.add_field(key, value)
            mime = mimetypes.guess_type(name)[0] or "application/octet-stream"
            form.add_field("image", file, filename=name, content_type=mime)
            timeout = self._http.transfer()
            async with self._http.request("POST", "/upload/image", data=form, timeout=timeout) as response:
                told = as_object(await self._http.parsed(response, "/upload/image"), "/upload/image")
        return Uploaded(str(told.get("name", name)), str(told.get("subfolder", "")), str(told.get("type", "input")))

    async def view(self, file: OutputFile, target: Path) -> int:
        """Download *file* to *target* and return its size in bytes. _download.py says what it guarantees and raises."""
        return await download(self._http, file, target)

    async def open_socket(self, client_id: str) -> aiohttp.ClientWebSocketResponse:
        """
        Open the websocket that gets *client_id*'s events, and ask for previews with metadata.

        Raises EngineUnavailable. A message may have 32 MB, because an error may quote the whole prompt. A larger one
        closes the socket.
        """
        try:
            socket = await self._http.session.ws_connect(
                self._http.at("/ws", {"clientId": client_id}),
                max_msg_size=LARGEST_ANSWER_BYTES,
                heartbeat=_HEARTBEAT_S,
            )
            # Only the first message of a socket may set this.
            await socket.send_str('{"type": "feature_flags", "data": {"supports_preview_metadata": true}}')
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._http.unavailable(error) from error
        return socket
