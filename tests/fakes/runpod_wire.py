"""
The HTTP of RunPod's control plane: what the SDK's worker calls, and what clients call.

    worker (Authorization: the key as it is)      client (Authorization: Bearer key)
      GET  job-take/{worker}    a job, or 204       POST run, POST runsync?wait=ms
      GET  job-stop/{worker}    ids, or 204         GET  status/{job}
      POST job-done/{worker}/{job}                  POST cancel/{job}
      GET  ping/{worker}
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from aiohttp import web

if TYPE_CHECKING:
    from fakes.runpod import Fault, RunPod

Value = TypeVar("Value")

#: How often a held request looks for news.
_LOOK_S = 0.01

RUN_LIMIT_BYTES = 10 * 1000**2
RUNSYNC_LIMIT_BYTES = 20 * 1000**2


def _faulty(fault: int | str) -> web.Response:
    """Answer with a status, or 200 with a text that RunPod did not write."""
    return web.Response(status=fault) if isinstance(fault, int) else web.Response(text=fault)


def strict_json(body: bytes) -> Any:
    """Read JSON as other languages do: NaN and Infinity, which Python writes and reads, are refused."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    return json.loads(body.decode("utf-8"), parse_constant=refuse)


class Server:
    """Serve one control plane on a free port, in a thread of its own."""

    def __init__(self, plane: RunPod) -> None:
        self.port = 0
        self._plane = plane
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="runpod", daemon=True)

    def start(self) -> None:
        """Return when the port is open."""
        self._thread.start()
        if not self._ready.wait(10):
            raise RuntimeError("the control plane did not start")

    def stop(self) -> None:
        """Close the port and wait for the thread."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(10)

    async def _serve(self) -> None:
        app = web.Application(client_max_size=1 << 30)
        base = f"/v2/{self._plane.endpoint}"
        app.add_routes(
            [
                web.get(f"{base}/job-take/{{worker}}", self._take),
                web.get(f"{base}/job-stop/{{worker}}", self._stop_channel),
                web.post(f"{base}/job-done/{{worker}}/{{job}}", self._done),
                web.get(f"{base}/ping/{{worker}}", self._ping),
                web.post(f"{base}/run", self._run),
                web.post(f"{base}/runsync", self._runsync),
                web.get(f"{base}/status/{{job}}", self._status),
                web.post(f"{base}/cancel/{{job}}", self._cancel),
            ]
        )
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.port = runner.addresses[0][1]
            self._loop = asyncio.get_running_loop()
            self._ready.set()
            await self._stopping.wait()
        finally:
            await runner.cleanup()

    async def _held(self, request: web.Request, ask: Callable[[], Value | None], hold_s: float) -> Value | None:
        """Hold a request until *ask* has something; a caller that has hung up is given nothing."""
        until = time.monotonic() + hold_s
        while time.monotonic() < until and not self._stopping.is_set():
            if request.transport is None or request.transport.is_closing():
                return None
            if value := ask():
                return value
            await asyncio.sleep(_LOOK_S)
        return None

    def _check_key(self, request: web.Request, expected: str) -> None:
        if request.headers.get("Authorization") != expected:
            self._plane.note("unauthorised", detail=request.path)
            raise web.HTTPUnauthorized

    # The worker's side.

    async def _take(self, request: web.Request) -> web.Response:
        self._check_key(request, self._plane.api_key)
        worker, knobs = request.match_info["worker"], self._plane.knobs
        self._plane.note("take_poll", worker_id=worker, detail=request.query.get("job_in_progress"))
        if knobs.take_faults:
            return web.Response(status=knobs.take_faults.popleft())
        body = await self._held(request, lambda: self._plane.next_body(worker), knobs.long_poll_s)
        if body is None:
            return web.Response(status=knobs.empty_status)
        return web.Response(text=body, content_type="application/json")

    async def _stop_channel(self, request: web.Request) -> web.Response:
        self._check_key(request, self._plane.api_key)
        worker = request.match_info["worker"]
        stops = await self._held(request, lambda: self._plane.next_stops(worker), self._plane.knobs.long_poll_s)
        return web.json_response({"jobsToStop": stops}) if stops else web.Response(status=204)

    async def _done(self, request: web.Request) -> web.Response:
        self._check_key(request, self._plane.api_key)
        worker, job = request.match_info["worker"], self._plane.jobs.get(request.match_info["job"])
        body, arrived_s = await request.read(), time.monotonic()
        if job is None:
            return web.Response(status=404)
        try:
            posted = strict_json(body)
        except ValueError as error:
            self._plane.note("bad_json", job.job_id, worker, str(error))
            return web.Response(status=400)
        knobs = self._plane.knobs
        is_progress = posted.get("status") == "IN_PROGRESS"
        faults = knobs.progress_faults if is_progress else knobs.result_faults
        if faults:
            fault = faults.popleft()
            if fault == "reset after":
                self._plane.take_result(job, worker, body, at_s=arrived_s)
            return self._fault(request, job.job_id, worker, fault)
        if is_progress:
            await asyncio.sleep(knobs.progress_delay_s)
            while knobs.result_overtakes_progress and not job.is_over:
                await asyncio.sleep(0.01)
            self._plane.take_progress(job, worker, posted["output"])
        elif knobs.max_result_bytes and len(body) > knobs.max_result_bytes:
            self._plane.lose_result(job, worker, len(body))
            return web.Response(status=400)
        else:
            self._plane.take_result(job, worker, body, at_s=arrived_s)
        return web.json_response({})

    def _fault(self, request: web.Request, job_id: str, worker: str, fault: Fault) -> web.Response:
        self._plane.note("fault", job_id, worker, fault)
        if isinstance(fault, str):
            assert request.transport is not None
            request.transport.close()
            return web.Response(status=500)
        after = self._plane.knobs.retry_after
        return web.Response(status=fault, headers={"Retry-After": after} if after else None)

    async def _ping(self, request: web.Request) -> web.Response:
        self._check_key(request, self._plane.api_key)
        kind = "unhealthy" if request.query.get("status") == "unhealthy" else "ping"
        self._plane.note(kind, request.query.get("job_id"), request.match_info["worker"], dict(request.query))
        return web.json_response({})

    # The client's side.

    async def _run(self, request: web.Request) -> web.Response:
        if faults := self._plane.knobs.run_faults:
            return _faulty(faults.popleft())
        job_id = await self._submitted(request, RUN_LIMIT_BYTES, sync=False)
        return web.json_response({"id": job_id, "status": "IN_QUEUE"})

    async def _runsync(self, request: web.Request) -> web.Response:
        job_id = await self._submitted(request, RUNSYNC_LIMIT_BYTES, sync=True)
        job = self._plane.jobs[job_id]
        await self._held(request, lambda: job.is_over, int(request.query.get("wait", "90000")) / 1000)
        return web.json_response(job.for_client())

    async def _submitted(self, request: web.Request, limit_bytes: int, *, sync: bool) -> str:
        self._check_key(request, f"Bearer {self._plane.api_key}")
        raw = await request.read()
        try:
            body = strict_json(raw)
        except ValueError as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        if len(raw) > limit_bytes or not isinstance(body, dict) or "input" not in body:
            raise web.HTTPBadRequest(text=f"`input` is required, and at most {limit_bytes} bytes are taken")
        return self._plane.submit(body["input"], s3_config=body.get("s3Config"), sync=sync)

    async def _status(self, request: web.Request) -> web.Response:
        self._check_key(request, f"Bearer {self._plane.api_key}")
        if faults := self._plane.knobs.status_faults:
            return _faulty(faults.popleft())
        job_id = self._job_id(request)
        shown = self._plane.jobs[job_id].for_client()
        self._plane.note("told", job_id, detail=shown)
        return web.json_response(shown)

    async def _cancel(self, request: web.Request) -> web.Response:
        self._check_key(request, f"Bearer {self._plane.api_key}")
        job_id = self._job_id(request)
        self._plane.cancel(job_id)
        return web.json_response({"id": job_id, "status": self._plane.jobs[job_id].status})

    def _job_id(self, request: web.Request) -> str:
        job_id = request.match_info["job"]
        if job_id not in self._plane.jobs:
            raise web.HTTPNotFound
        return job_id
