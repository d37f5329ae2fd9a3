"""The client for asyncio programs, which the other client wraps."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from wanworker.client._answers import JobPage, JobStatus, OnProgress, OnWarning, Plan, Result, State
from wanworker.client._following import OnCancelled, Patience, follow, follow_plan, wait
from wanworker.client._results import result_of
from wanworker.client.errors import ClientError, Refused
from wanworker.client.request import VideoFields, wants_thumbnail

if TYPE_CHECKING:
    import aiohttp

    from wanworker.client.targets.base import Target

log = logging.getLogger(__name__)


class AsyncClient:
    """
    Send jobs to a REST server (*url*) or to a RunPod endpoint (*endpoint*: its id, or an address), and follow them.

    *key* is WAN_API_KEY of the server, or a key of RunPod. Links in answers are followed to public addresses only, and
    to *allow_hosts*. A server that is full, away or restarting is asked again for *patience_s* seconds, and a running
    job is asked for every *poll_s*. Close the client, or use it in `async with`. Raises Refused for a wrong address.
    """

    def __init__(
        self,
        url: str = "",
        *,
        endpoint: str = "",
        key: str = "",
        allow_hosts: Sequence[str] = (),
        patience_s: float = 300.0,
        poll_s: float = 1.0,
    ) -> None:
        # The network's library is imported with the first client: `import wanworker.client` costs next to nothing.
        from wanworker.client.targets.http import base_url
        from wanworker.client.targets.runpod_endpoint import RUNPOD, endpoint_url

        if bool(url) == bool(endpoint):
            raise Refused("Give one of url and endpoint.", hint="A job goes to a REST server or to a RunPod endpoint.")
        self._is_runpod = bool(endpoint)
        self._base = endpoint_url(endpoint) if endpoint else base_url(url)
        if self._base.host == RUNPOD.host and not key:
            raise Refused("RunPod needs a key.", hint="Make a key in RunPod's console, and give it as `key`.")
        self._key = key
        self._allow_hosts = tuple(allow_hosts)
        self._patience_s = patience_s
        self._poll_s = poll_s
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. A later call opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def render(
        self,
        prompt: str | None = None,
        *,
        output: str | PathLike[str] | None = None,
        force: bool = False,
        job: Mapping[str, Any] | None = None,
        on_progress: OnProgress | None = None,
        wait_timeout_s: float | None = None,
        **fields: Unpack[VideoFields],
    ) -> Result:
        """
        Render a video, wait for it and return it: see `run` and `download`. Raises ClientError.

        Without *output*, the bytes are in the result's `content`. With `thumbnail` the first frame is fetched too. A
        video that an endpoint put at one of `output_upload_urls` is not fetched: `uploaded` of the result names it.
        """
        status = await self.run(prompt, job=job, on_progress=on_progress, wait_timeout_s=wait_timeout_s, **fields)
        return await self.save(status, output, force=force, thumbnails=wants_thumbnail(job, fields))

    async def run(
        self,
        prompt: str | None = None,
        *,
        job: Mapping[str, Any] | None = None,
        on_progress: OnProgress | None = None,
        on_cancelled: OnCancelled | None = None,
        wait_timeout_s: float | None = None,
        **fields: Unpack[VideoFields],
    ) -> JobStatus:
        """
        Send a job, wait for its end and return its last status; its files stay there. Raises ClientError.

        If the caller is cancelled, or *wait_timeout_s* seconds pass, the job is cancelled over there too;
        *on_cancelled* hears of it (default: the log does).
        """
        target = self._target()
        body = target.body(prompt, job, fields)
        patience = Patience(wait_timeout_s, poll_s=self._poll_s)
        status = await follow(target, body, on_progress, on_cancelled or _log_cancelled, patience)
        if status.error is not None:
            raise status.error
        return status

    async def submit(
        self,
        prompt: str | None = None,
        *,
        job: Mapping[str, Any] | None = None,
        on_warning: OnWarning | None = None,
        **fields: Unpack[VideoFields],
    ) -> str:
        """
        Send a job and return its id. Raises ClientError.

        *job* is a whole job, `{"input": {...}}` or its input alone, or the fields of /generate for a REST server. The
        other arguments replace its fields. It is sent twice only if it was certainly not taken the first time. What a
        REST server says of it at once comes to *on_warning* (default: the log); an endpoint says it with the result.
        """
        target = self._target()
        told: list[str] = []
        job_id = await target.start(target.body(prompt, job, fields), on_warning or told.append)
        for line in told:
            log.warning("the job %s: %s", job_id, line)
        return job_id

    async def plan(
        self,
        prompt: str | None = None,
        *,
        price_per_hour: float | None = None,
        job: Mapping[str, Any] | None = None,
        **fields: Unpack[VideoFields],
    ) -> Plan:
        """
        Say what `submit` with the same arguments would make, how long it takes and, with a price, what it costs.

        *price_per_hour* is the worker's, in any currency. Nothing is rendered. If the caller is cancelled, so is the
        job that makes the plan on an endpoint. Raises ClientError, as the job would, and Refused for a job of an
        endpoint that is not `generate`.
        """
        target = self._target()
        planning = target.plan(prompt, job, fields, price_per_hour)
        if self._is_runpod:
            planning = follow_plan(target, planning, _log_cancelled, Patience(poll_s=self._poll_s))
        status = await planning
        if status.error is not None:
            raise status.error
        return Plan.of(status.answer)

    async def status(self, job_id: str) -> JobStatus:
        """Say where a job is. A job that failed has a status with an `error`. Raises ClientError, UnknownJob."""
        return await self._target().status(job_id)

    async def wait(
        self,
        job_id: str,
        *,
        on_progress: OnProgress | None = None,
        wait_timeout_s: float | None = None,
        queue_timeout_s: float | None = None,
    ) -> JobStatus:
        """
        Wait until a job is over and return its last status, with its `error` if it failed.

        Raises ClientError, and WaitedTooLong if the job is not over after *wait_timeout_s* seconds or has not begun
        after *queue_timeout_s*. The job goes on then.
        """
        patience = Patience(wait_timeout_s, queue_timeout_s, self._poll_s)
        return await wait(self._target(), job_id, on_progress, patience)

    async def cancel(self, job_id: str) -> State:
        """
        Stop a job. Return "cancelled", or how it had ended before; a finished job keeps its video. Raises ClientError.
        """
        return await self._target().cancel(job_id)

    async def download(
        self,
        job_id: str,
        output: str | PathLike[str] | None = None,
        *,
        force: bool = False,
        thumbnails: bool = False,
    ) -> Result:
        """
        Fetch the files of a finished job.

        *output* is a file, or a folder that exists. Without it, the bytes are in the result's `content`. A file that
        exists is replaced only with *force*: otherwise the new one is called `name-2.mp4`. With *thumbnails*, the first
        frames are fetched too, as JPEGs beside the videos; a RunPod endpoint has those that the job asked for.

        Raises ClientError: Refused if the job has not ended, and the job's own error if it failed.
        """
        return await self.save(await self.status(job_id), output, force=force, thumbnails=thumbnails)

    async def save(
        self,
        status: JobStatus,
        output: str | PathLike[str] | None = None,
        *,
        force: bool = False,
        thumbnails: bool = False,
    ) -> Result:
        """Fetch the files of the last status of a job, as `download` does. Raises ClientError."""
        place = None if output is None else Path(output)
        return await result_of(self._target(), status, place, force=force, thumbnails=thumbnails)

    async def jobs(self, *, limit: int = 50, cursor: str | None = None) -> JobPage:
        """List a REST server's jobs, newest first. Raises ClientError: Refused for RunPod, which lists none."""
        return await self._target().page(limit, cursor)

    def _target(self) -> Target:
        import aiohttp

        from wanworker.client.targets.http import Edges, Remote
        from wanworker.client.targets.rest_server import Server
        from wanworker.client.targets.runpod_endpoint import Endpoint

        if self._session is None:
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), trust_env=True)
        remote = Remote(self._session, self._base, key=self._key, edges=Edges(patience_s=self._patience_s))
        return Endpoint(remote, allow_hosts=self._allow_hosts) if self._is_runpod else Server(remote)


def _log_cancelled(job_id: str, failure: ClientError | None) -> None:
    if failure is not None:
        log.warning("the job %s may still be running: it could not be cancelled: %s", job_id or "(no id)", failure)
