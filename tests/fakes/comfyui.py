"""
A ComfyUI server on loopback that speaks the recorded wire of 0.10.0 or 0.33.0, and misbehaves on request.

It checks graphs against the recorded object_info, "runs" them node by node with a real cache, and keeps queue,
history and files as the real one does: queue and history in memory, outputs on the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import struct
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, Self, cast

from aiohttp import web

from fakes.comfyui_nodes import Interrupt, NodeRaised, Nodes, WorkerDied
from fakes.comfyui_rules import Judge, recorded_object_info
from fakes.ports import held_port, release


@dataclass
class Prompt:
    """One queued prompt."""

    number: float
    prompt_id: str
    graph: dict[str, Any]
    extra: dict[str, Any]
    outputs: list[str]

    @property
    def item(self) -> list[Any]:
        return [self.number, self.prompt_id, self.graph, self.extra, self.outputs]


@dataclass
class FakeComfyUI:
    """
    Serve in this process: `async with FakeComfyUI(folder) as server` and talk to `server.url`.

    Misbehaviour: `drop_sockets` cuts the websocket that many times, each time at a node's beginning; `silent` sends
    no event; without `heeds_interrupts` no node stops; `lose_answers` handles a request of these paths and answers
    nothing; `gates` keep the answers of a path back until the event is set; `hide_history` answers that many questions
    for a finished prompt as too early; `cut_downloads` breaks off that many files half-way; `token` is demanded;
    `hide_unloads` answers that many questions for the memory as if it were not free yet. What nodes do is in `nodes`.
    `weights_bytes` are on the card after a prompt, and `held_bytes` are there now. `preview` is a JPEG that each step
    of a sampler shows, as with --preview-method. `seen` counts requests. `version` says which routes there are: 0.3.64
    has none for jobs, 0.10.0 lists them, 0.33.0 cancels them too.
    """

    folder: Path
    info: dict[str, Any] = field(default_factory=recorded_object_info)
    version: str = "0.10.0"
    nodes: Nodes = field(init=False)
    token: str | None = None
    drop_sockets: int = 0
    silent: bool = False
    heeds_interrupts: bool = True
    hide_history: int = 0
    cut_downloads: int = 0
    hide_unloads: int = 0
    weights_bytes: int = 0
    held_bytes: int = 0
    upload_limit_bytes: int = 100 << 20
    preview: bytes = b""
    lose_answers: set[str] = field(default_factory=set)
    gates: dict[str, asyncio.Event] = field(default_factory=dict)
    port: int = 0
    seen: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.nodes = Nodes(self.folder)
        for name in ("input", "output", "temp"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self._forget()

    def _forget(self) -> None:
        self.pending: list[Prompt] = []
        self.running: Prompt | None = None
        self.history: dict[str, Any] = {}
        self.sockets: dict[str, web.WebSocketResponse] = {}
        self._requests: dict[str, asyncio.Transport] = {}
        self._reads_metadata: set[str] = set()
        self._cache: dict[str, dict[str, Any] | None] = {}
        self._last_node: str | None = None
        self._number = 0
        self.interrupted = False
        self.held_bytes = 0
        self._to_free: dict[str, bool] = {}
        self._work = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.die()
        release(self.port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen, with an empty queue and history; on the same port as before if there was one."""
        self._forget()
        self.port = self.port or held_port()
        app = web.Application(middlewares=[self._middleware], client_max_size=self.upload_limit_bytes)
        app.add_routes([
            web.get("/ws", self._ws), web.post("/prompt", self._post_prompt), web.get("/prompt", self._get_prompt),
            web.get("/queue", self._get_queue), web.post("/queue", self._post_queue),
            web.post("/interrupt", self._interrupt), web.post("/free", self._free),
            web.get("/history/{id}", self._history), web.get("/object_info", self._all_info),
            web.get("/object_info/{name}", self._info), web.get("/models/{folder}", self._models),
            web.get("/system_stats", self._stats), web.get("/view", self._view),
            web.post("/upload/image", self._upload),
        ])  # fmt: skip
        if self.version != "0.3.64":
            app.add_routes([web.get("/api/jobs", self._jobs)])
        if self.version not in {"0.3.64", "0.10.0"}:
            app.add_routes([web.post("/api/jobs/{id}/cancel", self._cancel_job)])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self._worker = asyncio.create_task(self._work_for_ever())

    async def die(self) -> None:
        """End as SIGKILL ends it: sockets cut without a word, nothing answered, the queue gone."""
        self._worker.cancel()
        await asyncio.gather(self._worker, return_exceptions=True)
        for connection in list(self._runner.server.connections) if self._runner.server else []:
            if connection.transport:
                connection.transport.abort()
        await self._runner.cleanup()

    # The wire

    @web.middleware
    async def _middleware(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        self.seen[f"{request.method} {request.path}"] += 1
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.Response(status=401)
        if request.path in self.gates:
            await self.gates[request.path].wait()
        response = await handler(request)
        if request.path in self.lose_answers and request.transport:
            request.transport.abort()
        return response

    async def _ws(self, request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        sid = request.query.get("clientId") or uuid.uuid4().hex
        self.sockets[sid] = ws
        if request.transport:
            self._requests[sid] = cast("asyncio.Transport", request.transport)
        try:
            await self._send("status", {"status": self._queue_info(), "sid": sid}, sid)
            if self.running and self.running.extra.get("client_id") == sid and self._last_node:
                await self._send("executing", {"node": self._last_node}, sid)
            async for message in ws:
                told = json.loads(message.data)
                if told.get("type") == "feature_flags":
                    if told["data"].get("supports_preview_metadata"):
                        self._reads_metadata.add(sid)
                    features = {"supports_preview_metadata": True, "max_upload_size": self.upload_limit_bytes}
                    await self._send("feature_flags", features, sid)
        finally:
            # The real one drops a newer socket of the same id here, and so does this.
            self.sockets.pop(sid, None)
            self._reads_metadata.discard(sid)
        return ws

    async def _send(self, kind: str, data: Mapping[str, Any], sid: str | None = None) -> None:
        if self.silent and kind not in {"status", "feature_flags"}:
            return
        for ws in [self.sockets[sid]] if sid in self.sockets else [] if sid else list(self.sockets.values()):
            with contextlib.suppress(ConnectionError):
                await ws.send_str(json.dumps({"type": kind, "data": data}))
            if kind == "executing" and data.get("node") and data.get("prompt_id") and self.drop_sockets:
                self.drop_sockets -= 1
                self.drop(str(sid))

    async def _send_preview(self, about: Mapping[str, Any], sid: str | None) -> None:
        """Send the picture of a step: as event 4, after *about*, to a socket that asked for that, else as event 1."""
        metadata = json.dumps({**about, "image_type": "image/jpeg"}).encode()
        described = struct.pack(">II", 4, len(metadata)) + metadata + self.preview
        plain = struct.pack(">II", 1, 1) + self.preview
        for each in [sid] if sid in self.sockets else [] if sid else list(self.sockets):
            with contextlib.suppress(ConnectionError):
                await self.sockets[each].send_bytes(described if each in self._reads_metadata else plain)

    def drop(self, sid: str) -> None:
        """Cut the websocket of a client id without a word."""
        self._requests[sid].abort()

    def _queue_info(self) -> dict[str, Any]:
        return {"exec_info": {"queue_remaining": len(self.pending) + (self.running is not None)}}

    async def _post_prompt(self, request: web.Request) -> web.Response:
        body = json.loads(await request.text())
        if "prompt" not in body:
            error = {"type": "no_prompt", "message": "No prompt provided", "details": "No prompt provided"}
            return web.json_response({"error": {**error, "extra_info": {}}, "node_errors": {}}, status=400)
        if self.version not in {"0.3.64", "0.10.0"} and not _is_uuid(body.get("prompt_id", str(uuid.uuid4()))):
            error = {"type": "invalid_prompt_id", "message": "prompt_id must be a valid UUID", "details": ""}
            return web.json_response({"error": {**error, "extra_info": {}}, "node_errors": {}}, status=400)
        error, outputs, node_errors = Judge(self.info, self.folder / "input").verdict(body["prompt"])
        if error:
            return web.json_response({"error": error, "node_errors": node_errors}, status=400)
        self._number += 1
        extra = {**body.get("extra_data", {}), "create_time": int(time.time() * 1000)}
        if "client_id" in body:
            extra["client_id"] = body["client_id"]
        prompt = Prompt(self._number, str(body.get("prompt_id") or uuid.uuid4()), body["prompt"], extra, outputs)
        self.pending.append(prompt)
        self._work.set()
        await self._send("status", {"status": self._queue_info()})
        answer = {"prompt_id": prompt.prompt_id, "number": prompt.number, "node_errors": node_errors}
        return web.json_response(answer)

    async def _get_prompt(self, _: web.Request) -> web.Response:
        return web.json_response(self._queue_info())

    async def _get_queue(self, _: web.Request) -> web.Response:
        running = [self.running.item] if self.running else []
        # The real one shows its heap, in which only the first is surely in its place.
        waiting = [prompt.item for prompt in self.pending]
        return web.json_response({"queue_running": running, "queue_pending": [*waiting[:1], *reversed(waiting[1:])]})

    async def _post_queue(self, request: web.Request) -> web.Response:
        body = json.loads(await request.text())
        gone = set(body.get("delete", ())) if not body.get("clear") else {prompt.prompt_id for prompt in self.pending}
        self.pending = [prompt for prompt in self.pending if prompt.prompt_id not in gone]
        await self._send("status", {"status": self._queue_info()})
        return web.Response()

    async def _jobs(self, request: web.Request) -> web.Response:
        wanted = request.query["status"].split(",")
        for prompt in self.pending:
            # The real one falls over such a prompt too, and answers 500.
            prompt.extra.get("extra_pnginfo", {}).get("workflow", {}).get("id")
        found = [("in_progress", self.running)] if self.running else []
        found += [("pending", prompt) for prompt in self.pending]
        jobs = [
            {"id": prompt.prompt_id, "status": status, "priority": prompt.number, "outputs_count": 0}
            for status, prompt in reversed(found)  # the newest first, as the real one lists them
            if prompt and status in wanted
        ]
        pages = {"offset": 0, "limit": None, "total": len(jobs), "has_more": False}
        return web.json_response({"jobs": jobs, "pagination": pages})

    async def _cancel_job(self, request: web.Request) -> web.Response:
        wanted = request.match_info["id"]
        left = [prompt for prompt in self.pending if prompt.prompt_id != wanted]
        is_running = self.running is not None and self.running.prompt_id == wanted
        cancelled = is_running or len(left) < len(self.pending)
        self.pending, self.interrupted = left, self.interrupted or is_running
        await self._send("status", {"status": self._queue_info()})
        return web.json_response({"cancelled": cancelled})

    async def _interrupt(self, request: web.Request) -> web.Response:
        text = await request.text()
        prompt_id = json.loads(text).get("prompt_id") if text else None
        if not prompt_id or (self.running and self.running.prompt_id == prompt_id):
            self.interrupted = True
        return web.Response()

    async def _free(self, request: web.Request) -> web.Response:
        self._to_free = json.loads(await request.text())
        self._work.set()
        return web.Response()

    def _obey_free(self) -> None:
        """Do between two prompts what /free asked for."""
        wanted, self._to_free = self._to_free, {}
        if wanted.get("free_memory"):
            self._cache.clear()
        if wanted.get("unload_models"):
            self.held_bytes = 0

    async def _history(self, request: web.Request) -> web.Response:
        prompt_id = request.match_info["id"]
        if prompt_id in self.history and self.hide_history:
            self.hide_history -= 1
            return web.json_response({})
        return web.json_response({prompt_id: self.history[prompt_id]} if prompt_id in self.history else {})

    async def _all_info(self, _: web.Request) -> web.Response:
        return web.json_response(self.info)

    async def _info(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        return web.json_response({name: self.info[name]} if name in self.info else {})

    async def _models(self, request: web.Request) -> web.Response:
        loaders = {
            "diffusion_models": ("UNETLoader", "unet_name"), "vae": ("VAELoader", "vae_name"),
            "loras": ("LoraLoaderModelOnly", "lora_name"), "text_encoders": ("CLIPLoader", "clip_name"),
        }  # fmt: skip
        if request.match_info["folder"] not in loaders:
            return web.Response(status=404)
        name, key = loaders[request.match_info["folder"]]
        return web.json_response([file for file in self.info[name]["input"]["required"][key][0] if "." in file])

    async def _stats(self, _: web.Request) -> web.Response:
        held = self.held_bytes
        if self.hide_unloads:
            self.hide_unloads, held = self.hide_unloads - 1, self.weights_bytes
        devices = [{"name": "cpu", "type": "cpu", "torch_vram_total": 1 << 36}]
        if self.weights_bytes:
            devices.append({"name": "cuda:0 fake", "type": "cuda", "torch_vram_total": held})
        return web.json_response({"system": {"comfyui_version": self.version, "argv": ["main.py"]}, "devices": devices})

    async def _upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        image = form.get("image")
        if not isinstance(image, web.FileField):
            return web.Response(status=400)
        kind, subfolder, name = str(form.get("type") or "input"), str(form.get("subfolder", "")), image.filename
        folder = (self.folder / kind / subfolder).resolve()
        if not (folder / name).resolve().is_relative_to((self.folder / kind).resolve()):
            return web.Response(status=400)
        folder.mkdir(parents=True, exist_ok=True)
        data, stem, suffix, number = image.file.read(), Path(name).stem, Path(name).suffix, 1
        while form.get("overwrite") not in {"true", "1"} and (folder / name).exists():
            if (folder / name).read_bytes() == data:
                break
            name, number = f"{stem} ({number}){suffix}", number + 1
        (folder / name).write_bytes(data)
        return web.json_response({"name": name, "subfolder": subfolder, "type": kind})

    async def _view(self, request: web.Request) -> web.StreamResponse:
        name, subfolder = request.query.get("filename", ""), request.query.get("subfolder", "")
        root = (self.folder / request.query.get("type", "output")).resolve()
        if not name or ".." in name or name.startswith("/"):
            return web.Response(status=400 if name else 404)
        path = (root / subfolder / name).resolve()
        if not path.is_relative_to(root):
            return web.Response(status=403)
        if not path.is_file():
            return web.Response(status=404)
        if self.cut_downloads:
            self.cut_downloads -= 1
            return await self._cut(request, path.read_bytes())
        return web.FileResponse(path, headers={"Content-Disposition": f'filename="{name}"'})

    async def _cut(self, request: web.Request, data: bytes) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(data))})
        await response.prepare(request)
        await response.write(data[: len(data) // 2])
        if request.transport:
            request.transport.abort()
        return response

    # The work

    async def _work_for_ever(self) -> None:
        while True:
            self._obey_free()
            while not self.pending:
                self._work.clear()
                await self._work.wait()
                self._obey_free()
            self.running = self.pending.pop(0)
            self.interrupted = False
            await self._send("status", {"status": self._queue_info()})
            run = _Run(self, self.running)
            try:
                entry = await run.run()
            except WorkerDied:
                return  # it stays listed as running, and what comes later stays pending
            prompt, self.running = self.running, None
            self.history[prompt.prompt_id] = entry
            self._last_node = None
            self.held_bytes = self.weights_bytes
            await self._send("status", {"status": self._queue_info()})
            sid = prompt.extra.get("client_id")
            if sid:
                await self._send("executing", {"node": None, "prompt_id": prompt.prompt_id}, sid)


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


class _Run:
    """One prompt in the works."""

    def __init__(self, server: FakeComfyUI, prompt: Prompt) -> None:
        self.server, self.prompt = server, prompt
        self.messages: list[list[Any]] = []
        self.states: dict[str, dict[str, Any]] = {}
        self.shown: dict[str, Any] = {}
        self.done: list[str] = []
        self.node = ""

    async def run(self) -> dict[str, Any]:
        """Run every node that the good outputs need; return the history entry."""
        order = list(self._order())
        cached = [node for node in order if self._key(node) in self.server._cache]
        await self._message("execution_start")
        await self._message("execution_cached", nodes=cached)
        succeeded = False
        try:
            for self.node in order:
                await (self._run_cached if self.node in cached else self._run_node)(self.node)
                self.done.append(self.node)
            await self._message("execution_success")
            succeeded = True
        except Interrupt:
            about = {"node_id": self.node, "node_type": self._class(self.node), "executed": self.done}
            await self._message("execution_interrupted", to_all=True, **about)
        except NodeRaised as error:
            await self._message("execution_error", **self._raised(error))
        status = {"status_str": "success" if succeeded else "error", "completed": succeeded, "messages": self.messages}
        meta = {
            node: {"node_id": node, "display_node": node, "parent_node": None, "real_node_id": node}
            for node in self.shown
        }
        return {"prompt": self.prompt.item, "outputs": self.shown, "status": status, "meta": meta}

    async def step(self, node: str, value: int, steps: int) -> None:
        """Send progress, let others run, and raise Interrupt if it was asked for."""
        await self._state(node, "running", value, steps)
        if self.server.preview and not self.server.silent:
            names = {name: told for name, told in self.states[node].items() if name not in {"value", "max", "state"}}
            await self.server._send_preview(names, self._sid)
        about = {"value": value, "max": steps, "prompt_id": self.prompt.prompt_id, "node": node}
        await self.server._send("progress", about, self._sid)
        await self.pause()

    async def pause(self) -> None:
        """Let others run, and raise Interrupt if it was asked for."""
        await asyncio.sleep(0.001)
        self.heed()

    def heed(self) -> None:
        if self.server.interrupted and self.server.heeds_interrupts:
            raise Interrupt

    @property
    def _sid(self) -> str | None:
        # Without a client id the real one tells everybody of progress, and nobody of the rest.
        return self.prompt.extra.get("client_id")

    async def _run_node(self, node: str) -> None:
        prompt_id = self.prompt.prompt_id
        await self._state(node, "running", 0.0, 1.0)
        self.server._last_node = node
        about = {"node": node, "display_node": node, "prompt_id": prompt_id}
        await self._tell("executing", about)
        self.heed()
        await asyncio.sleep(0)
        body = self.prompt.graph[node]
        shown = await self.server.nodes.run(node, body["class_type"], body["inputs"], self)
        self.server._cache[self._key(node)] = shown
        if shown is not None:
            self.shown[node] = shown
            await self._tell("executed", {**about, "output": shown})
        state = self.states[node]
        await self._state(node, "finished", max(1.0, state["value"]), state["max"])

    async def _run_cached(self, node: str) -> None:
        if node not in self.prompt.outputs:
            return
        shown = self.server._cache[self._key(node)]
        if shown is not None:
            self.shown[node] = shown
        about = {"node": node, "display_node": node, "output": shown, "prompt_id": self.prompt.prompt_id}
        await self._tell("executed", about)
        await self._state(node, "finished", 1, 1)

    async def _tell(self, kind: str, data: Mapping[str, Any]) -> None:
        if self._sid:
            await self.server._send(kind, data, self._sid)

    async def _message(self, kind: str, *, to_all: bool = False, **data: Any) -> None:
        data = {"prompt_id": self.prompt.prompt_id, **data, "timestamp": int(time.time() * 1000)}
        self.messages.append([kind, data])
        await self.server._send(kind, data, self._sid) if to_all else await self._tell(kind, data)

    async def _state(self, node: str, state: str, value: float, steps: float) -> None:
        names = {"node_id": node, "prompt_id": self.prompt.prompt_id, "display_node_id": node}
        more = {"parent_node_id": None, "real_node_id": node}
        self.states[node] = {"value": value, "max": steps, "state": state, **names, **more}
        about = {"prompt_id": self.prompt.prompt_id, "nodes": self.states}
        await self.server._send("progress_state", about, self._sid)

    def _raised(self, error: NodeRaised) -> dict[str, Any]:
        inputs = {name: [value] for name, value in self.prompt.graph[self.node]["inputs"].items()}
        return {
            "node_id": self.node, "node_type": self._class(self.node), "executed": self.done,
            "exception_message": f"{error}\n", "exception_type": error.kind,
            "traceback": ["  File \"/ComfyUI/execution.py\", line 518, in execute"],
            "current_inputs": inputs, "current_outputs": self.prompt.outputs,
        }  # fmt: skip

    def _order(self) -> Iterator[str]:
        sorter: TopologicalSorter[str] = TopologicalSorter()
        left, seen = list(self.prompt.outputs), set()
        while left:
            node = left.pop()
            if node not in seen:
                seen.add(node)
                sources = self._sources(node)
                sorter.add(node, *sources)
                left += sources
        return iter(sorter.static_order())

    def _sources(self, node: str) -> list[str]:
        return [value[0] for value in self.prompt.graph[node]["inputs"].values() if isinstance(value, list)]

    def _class(self, node: str) -> str:
        return str(self.prompt.graph[node]["class_type"])

    def _key(self, node: str) -> str:
        """What a node's result depends on, as the real cache keys it: class, values, and the keys of its sources."""
        body = self.prompt.graph[node]
        inputs = {
            name: [self._key(value[0]), value[1]] if isinstance(value, list) else value
            for name, value in body["inputs"].items()
        }
        told = json.dumps([body["class_type"], inputs], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()
