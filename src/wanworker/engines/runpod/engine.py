"""The runpod engine: renders on RunPod endpoints whose workers run wanworker."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wanworker.client import AsyncClient, JobStatus
from wanworker.client.policy import policy_of
from wanworker.engines.base import Forecast, Readiness, Rendered, Report
from wanworker.engines.runpod._fields import FILES, fields_of
from wanworker.engines.runpod._fleet import Fleet
from wanworker.engines.runpod._inputs import Brought, bring
from wanworker.engines.runpod._remote_render import Policy, RemoteRender, RemoteRequest
from wanworker.engines.runpod._result import fetch, rendered
from wanworker.engines.runpod._volume import Volume, remove
from wanworker.engines.runpod.remote_jobs import RemoteJob, RemoteJobs, notes_folder
from wanworker.errors import WorkerError
from wanworker.media.inputs.picture import picture_size
from wanworker.media.outputs.bucket import Bucket, NoBucket, configured_bucket
from wanworker.media.threads import in_thread
from wanworker.progress import Progress
from wanworker.settings import Settings
from wanworker.spec import RenderSpec, Size

#: How long a job that was sent is asked for where no answer comes, and how long a new one is offered to a full queue.
_ASK_S, _OFFER_S = 120.0, 5.0

#: RunPod takes 2000 questions about jobs in 10 seconds; other clients of the endpoint ask too.
_QUESTIONS_PER_S = 50.0


class RunPodEngine:
    """Send each render to an endpoint, follow it there, and bring the file here."""

    def __init__(
        self,
        settings: Settings,
        *,
        policy: Policy | None = None,
        poll_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._policy = policy or Policy(queue_s=settings.runpod_queue_s)
        self._poll_s = max(1.0, settings.runpod_concurrency / _QUESTIONS_PER_S) if poll_s is None else poll_s
        self._fleet = Fleet(settings.runpod_endpoints, clock=clock)
        self._notes = RemoteJobs(notes_folder(settings.jobs_dir))
        self._volume = Volume(settings.runpod_volume) if settings.runpod_volume else None
        self._clients: dict[tuple[str, float], AsyncClient] = {}
        self._leaves = False

    def readiness(self, task: str) -> Readiness:  # noqa: ARG002 - only the endpoint's workers know what weights they have
        """Say whether there are endpoints and a key for them. What they can render, only a job tells."""
        if not self._fleet.names:
            return Readiness(missing=("WAN_RUNPOD_ENDPOINTS is not set",))
        needs_key = any("://" not in name for name in self._fleet.names)
        return Readiness(missing=("RUNPOD_API_KEY is not set",) if needs_key and not self._key else ())

    async def forecast(self, spec: RenderSpec) -> Forecast:
        """Say what is known before a worker has the job: what was asked for."""
        unknown = ("model, recipe and placement: the endpoint's worker decides them.",)
        return Forecast("runpod", None, spec.size, spec.frames, spec.fps, unknown=unknown)

    async def render(self, spec: RenderSpec, out_path: Path, *, work_dir: Path, report: Report) -> Rendered:
        """Render *spec* as a job that no restart finds again; see Engine."""
        return await self.render_as(
            out_path.stem, spec, out_path, work_dir=work_dir, report=report, timeout_s=self._settings.job_timeout_s
        )

    async def render_as(
        self, name: str, spec: RenderSpec, out_path: Path, *, work_dir: Path, report: Report, timeout_s: float
    ) -> Rendered:
        """Render *spec*; see RemoteEngine."""
        report(Progress("queued", 0.0))
        size = await in_thread(picture_size, spec.image) if spec.image else None
        fields = fields_of(spec, Size(*size) if size else None)
        fingerprint = await in_thread(_fingerprint, fields, spec)
        known = await in_thread(self._noted, name, fingerprint)
        brought = Brought()
        try:
            await bring(spec, name, brought, volume=self._volume, bucket=self._bucket(), links=known.links)
            body = self._body(name, fingerprint, {**fields, **brought.fields}, timeout_s)
            request = RemoteRequest(name, body, fingerprint, brought.links)
            return await self._done(request, known, out_path, work_dir, report)
        except BaseException as error:
            if not self._leaves or isinstance(error, WorkerError):
                await in_thread(self._notes.remove, name)
            raise
        finally:
            if not self._leaves:
                await in_thread(remove, brought.copies)

    def announce(self, name: str) -> None:
        """See RemoteEngine."""
        if self._notes.get(name) is None:
            self._notes.put(name, RemoteJob("", "", ""))

    def _noted(self, name: str, fingerprint: str) -> RemoteJob:
        """Return what an earlier process noted of this render, or else note that it is about to be sent."""
        known = self._notes.get(name)
        if known is not None and known.fingerprint == fingerprint:
            return known
        coming = RemoteJob("", "", fingerprint)
        self._notes.put(name, coming)
        return coming

    async def _done(
        self, request: RemoteRequest, known: RemoteJob, out_path: Path, work_dir: Path, report: Report
    ) -> Rendered:
        async def bring_here(client: AsyncClient, status: JobStatus) -> None:
            report(Progress("fetching", 0.99))
            await fetch(client, status, out_path, work_dir=work_dir, volume=self._volume)

        remote = RemoteRender(
            request,
            self._fleet,
            self._notes,
            client_of=self._client,
            sender_of=lambda endpoint: self._client(endpoint, _OFFER_S),
            fetch=bring_here,
            policy=self._policy,
            report=report,
            is_left=lambda: self._leaves,
        )
        # The note stays: if this process dies before it has recorded the video, the next one fetches it again.
        job, status = await remote.completed(known if known.job_id else None)
        return rendered(status, job.endpoint)

    def leave_jobs(self) -> None:
        """See RemoteEngine."""
        self._leaves = True

    async def close(self) -> None:
        """Close the connections."""
        clients, self._clients = list(self._clients.values()), {}
        await asyncio.gather(*(client.close() for client in clients))
        await in_thread(self._notes.prune)

    @property
    def _key(self) -> str:
        key = self._settings.runpod_api_key
        return key.get_secret_value() if key else ""

    def _client(self, endpoint: str, patience_s: float = _ASK_S) -> AsyncClient:
        known = (endpoint, patience_s)
        if known not in self._clients:
            allowed = self._settings.allow_hosts
            self._clients[known] = AsyncClient(
                endpoint=endpoint, key=self._key, allow_hosts=allowed, patience_s=patience_s, poll_s=self._poll_s
            )
        return self._clients[known]

    def _bucket(self) -> Bucket | NoBucket | None:
        return configured_bucket(*self._settings.bucket_parts)

    def _body(self, name: str, fingerprint: str, fields: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """
        Return the body of /run. The request id makes a worker that finds the job on its volume return that video.

        It is not the name, under which this server itself may have a record on that volume.
        """
        request_id = f"remote-{hashlib.sha256(f'{name} {fingerprint}'.encode()).hexdigest()[:40]}"
        own = {"request_id": request_id, "timeout": max(1.0, timeout_s), "return_video": self._volume is None}
        return {"input": {"action": "generate", **fields, **own}, "policy": policy_of(timeout_s)}


def _fingerprint(fields: dict[str, Any], spec: RenderSpec) -> str:
    """Return what tells this render from others: its fields, and the content of its files."""
    digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode())
    for path in (getattr(spec, name) for name in FILES):
        digest.update(_digest(path) if path else b"none")
    digest.update(str(spec.prepared_dir or "").encode())
    return digest.hexdigest()


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
