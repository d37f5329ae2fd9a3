"""A REST server over a scripted engine, on loopback, in the test's own event loop; and a client for it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvicorn

from fakes.engine import ScriptedEngine, write_clip
from wanworker.app import Worker
from wanworker.rest._serve import config_of
from wanworker.rest.http.limits import LIMITS, Limits
from wanworker.settings import Settings

PATIENCE_S = 20.0


@dataclass
class Rest:
    """A running server, the worker behind it, and requests to it as (status, JSON)."""

    url: str
    worker: Worker
    engine: ScriptedEngine
    session: aiohttp.ClientSession
    headers: dict[str, str] = field(default_factory=dict)

    async def ask(self, method: str, path: str, **kwargs: Any) -> tuple[int, Any]:
        """Send one request and return the status and the JSON."""
        kwargs["headers"] = {**self.headers, **kwargs.get("headers", {})}
        async with self.session.request(method, f"{self.url}{path}", **kwargs) as answer:
            return answer.status, await answer.json()

    async def generate(self, **fields: Any) -> str:
        """Queue a job and return its id."""
        status, started = await self.ask("POST", "/generate", json={"prompt": "a cat", "seed": 1, **fields})
        assert status == 200, started
        return str(started["job_id"])

    async def status(self, job_id: str) -> dict[str, Any]:
        """Return what /status says."""
        _, answer = await self.ask("GET", f"/status/{job_id}")
        return dict(answer)

    async def until(self, job_id: str, *words: str) -> dict[str, Any]:
        """Return the status once it is one of *words* (default: an end)."""
        async with asyncio.timeout(PATIENCE_S):
            while (status := await self.status(job_id))["status"] not in (words or ("completed", "error")):
                await asyncio.sleep(0.02)
        return status

    async def until_nothing_is_kept(self) -> None:
        """Return once no request is kept any more: clients hear of an end before its webhook and tidying are done."""
        kept = self.worker.settings.jobs_dir / "kept"
        async with asyncio.timeout(PATIENCE_S):
            while any(path.is_file() for path in kept.iterdir()):
                await asyncio.sleep(0.02)

    async def bytes_of(self, path: str, **headers: str) -> tuple[int, bytes]:
        """Return the status and the body of a GET."""
        async with self.session.get(f"{self.url}{path}", headers={**self.headers, **headers}) as answer:
            return answer.status, await answer.read()


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small real video."""
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4")


@pytest.fixture
def engine(clip: Path) -> ScriptedEngine:
    """Return an engine that hands over the clip, unless a test gives it something else to do."""
    return ScriptedEngine(clip)


@contextlib.asynccontextmanager
async def running(worker: Worker, engine: ScriptedEngine, limits: Limits = LIMITS) -> AsyncIterator[Rest]:
    """Run a server over *worker* until the block ends."""
    server = uvicorn.Server(config_of(worker, worker.settings, "127.0.0.1", 0, limits=limits))
    serving = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not server.started:
                assert not serving.done(), "the server ended before it began"
                await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        async with aiohttp.ClientSession() as session:
            yield Rest(f"http://127.0.0.1:{port}", worker, engine, session)
    finally:
        server.should_exit = True
        await serving


@pytest.fixture
def serve(make_settings: Callable[..., Settings], engine: ScriptedEngine) -> Callable[..., Any]:
    """Return a function that runs a server with these settings over the scripted engine, as a context."""

    def start(*, row: str = "diffusers", limits: Limits = LIMITS, **fields: Any) -> Any:
        return running(Worker(make_settings(**fields), engines=(engine.row(row),)), engine, limits)

    return start


@pytest.fixture
def serve_worker(engine: ScriptedEngine) -> Callable[..., Any]:
    """Return a function that runs a server over any worker, as a context."""
    return lambda worker: running(worker, engine)


@pytest.fixture
async def rest(serve: Callable[..., Any]) -> AsyncIterator[Rest]:
    """Run a server with every default."""
    async with serve() as server:
        yield server
