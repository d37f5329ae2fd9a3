"""Render one video on a fleet of endpoints: find or send its job, follow it, and send it again if RunPod failed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from wanworker.client import (
    AsyncClient,
    ClientError,
    JobCancelled,
    JobFailed,
    JobStatus,
    ResultLost,
    SaveFailed,
    UnknownJob,
    Unreachable,
)
from wanworker.engines.base import Report
from wanworker.engines.runpod._failures import after_all, as_ours, is_platform_failure
from wanworker.engines.runpod._fleet import Fleet
from wanworker.engines.runpod.remote_jobs import RemoteJob, RemoteJobs
from wanworker.media.threads import in_thread
from wanworker.progress import Progress

log = logging.getLogger(__name__)

#: How long a job that is called off may take to end over there.
_CANCEL_S = 15.0


#: Bring the video of a COMPLETED job here. Raises ClientError and WorkerError.
Fetch = Callable[[AsyncClient, JobStatus], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Policy:
    """
    Say how often a job is sent and its video fetched, and how patiently.

    A job waits in a queue for `queue_s` where another endpoint could take it, otherwise for as long as it has. Between
    two tries are `pause_s`, twice that, and so on up to `longest_pause_s`.
    """

    tries: int = 4
    fetches: int = 3
    queue_s: float = 600.0
    pause_s: float = 2.0
    longest_pause_s: float = 30.0
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep


@dataclass(frozen=True, slots=True)
class RemoteRequest:
    """Hold what is sent: the render's name, the body of /run, its fingerprint, and the links in it."""

    name: str
    body: Mapping[str, Any]
    fingerprint: str
    links: Mapping[str, str]


class RemoteRender:
    """Hold one render while it is carried out. `is_left` says whether its job goes on when this is cancelled."""

    def __init__(
        self,
        request: RemoteRequest,
        fleet: Fleet,
        notes: RemoteJobs,
        *,
        client_of: Callable[[str], AsyncClient],
        sender_of: Callable[[str], AsyncClient],
        fetch: Fetch,
        policy: Policy,
        report: Report,
        is_left: Callable[[], bool],
    ) -> None:
        self._request = request
        self._fleet = fleet
        self._notes = notes
        self._client_of = client_of
        self._sender_of = sender_of
        self._fetch = fetch
        self._policy = policy
        self._report = report
        self._is_left = is_left
        self._tried: list[str] = []

    async def completed(self, known: RemoteJob | None) -> tuple[RemoteJob, JobStatus]:
        """
        Return the remote job with its last status, once its video is here. *known* is where an earlier process sent it.

        Raises WorkerError. On cancellation the job has ended over there, unless it is left.
        """
        if known is not None and (found := await self._resumed(known)):
            return found
        failures: list[str] = []
        while len(failures) < self._policy.tries:
            if failures:
                await self._policy.sleep(self._pause_s(len(failures)))
            endpoint = self._fleet.choose(self._tried)
            try:
                with self._fleet.counted(endpoint):
                    return await self._rendered_at(endpoint)
            except ClientError as error:
                if not is_platform_failure(error):
                    raise as_ours(error) from error
                failures.append(str(error))
                self._tried.append(endpoint)
                self._fleet.note_failure(endpoint)
                log.warning("endpoint %s failed %s, try %d: %s", endpoint, self._request.name, len(failures), error)
        raise after_all(failures)

    def _pause_s(self, failures: int) -> float:
        return min(self._policy.longest_pause_s, self._policy.pause_s * 2.0 ** (failures - 1))

    async def _resumed(self, known: RemoteJob) -> tuple[RemoteJob, JobStatus] | None:
        """Return the end of the job that an earlier process sent, or None if it must be sent again."""
        is_ours = known.endpoint in self._fleet.names  # else the settings named it when it was sent: it may run there
        try:
            with self._fleet.counted(known.endpoint):
                return known, await self._brought(known)
        except ClientError as error:
            is_final = isinstance(error, JobFailed | SaveFailed) or is_ours
            if is_final and not is_platform_failure(error) and not isinstance(error, JobCancelled):
                raise as_ours(error) from error
            log.info("the job %s of an earlier process is sent again: %s", known.job_id, error)
            return None

    async def _rendered_at(self, endpoint: str) -> tuple[RemoteJob, JobStatus]:
        sending = asyncio.ensure_future(self._sent(endpoint))
        try:
            remote = await asyncio.shield(sending)
        except asyncio.CancelledError:
            await self._ended_once_sent(sending, endpoint)
            raise
        return remote, await self._brought(remote)

    async def _ended_once_sent(self, sending: asyncio.Future[RemoteJob], endpoint: str) -> None:
        """Stop a job whose id is still on its way. A job that the endpoint did not take needs no stop."""
        try:
            async with asyncio.timeout(_CANCEL_S):
                await self._ended(await sending)
        except TimeoutError:
            text = "%s was called off while it was sent to %s, which may have taken it: no id came in %g s"
            log.warning(text, self._request.name, endpoint, _CANCEL_S)
        except ClientError as error:
            log.info("%s was called off while it was sent to %s: %s", self._request.name, endpoint, error)

    async def _brought(self, remote: RemoteJob) -> JobStatus:
        """
        Return the last status of a job once its video is here. Raises ClientError.

        A link that breaks off is followed again: the video is there, and was paid for. What stays away is a lost
        result. Then the job is forgotten, so that nothing asks for the same again.
        """
        status = await self._followed(remote)
        for number in range(1, self._policy.fetches + 1):
            try:
                await self._fetch(self._client_of(remote.endpoint), status)
            except ResultLost as error:
                if number < self._policy.fetches and error.code == "DOWNLOAD_FAILED":
                    log.info("the video of %s is fetched again: %s", self._request.name, error)
                    await self._policy.sleep(self._pause_s(number))
                    continue
                await self._forget()
                raise
            break
        return status

    async def _sent(self, endpoint: str) -> RemoteJob:
        """Send the job, and note its id at once."""
        job_id = await self._sender_of(endpoint).submit(job=self._request.body)
        remote = RemoteJob(endpoint, job_id, self._request.fingerprint, self._request.links)
        await in_thread(self._notes.put, self._request.name, remote)
        log.info("%s is the job %s of endpoint %s", self._request.name, job_id, endpoint)
        return remote

    async def _followed(self, remote: RemoteJob) -> JobStatus:
        """Return the last status of a job that is COMPLETED. Raises ClientError, when nothing of it runs any more."""
        try:
            status = await self._last_status(remote)
        except asyncio.CancelledError:
            await asyncio.shield(self._ended(remote))
            raise
        except ClientError:
            await self._called_off(remote)
            raise
        if status.error is not None:
            await self._forget()
            raise status.error
        return status

    async def _last_status(self, remote: RemoteJob) -> JobStatus:
        """
        Wait for the job's end. Where nobody answers, go on asking: the job runs there, and its deadline bounds this.

        Raises ClientError; Unreachable only where another endpoint may still answer.
        """
        tried = [*self._tried, remote.endpoint]
        queue_s = self._policy.queue_s if self._fleet.has_other(tried) else None
        while True:
            try:
                client = self._client_of(remote.endpoint)
                return await client.wait(remote.job_id, on_progress=self._tell, queue_timeout_s=queue_s)
            except Unreachable as error:
                if self._fleet.has_other_server(remote.endpoint, tried):
                    raise
                log.warning("the remote job %s is asked for again: %s", remote.job_id, error)
                await self._policy.sleep(self._policy.longest_pause_s)

    def _tell(self, status: JobStatus) -> None:
        fraction = min(0.99, max(0.0, status.progress / 100))
        progress = Progress("queued" if status.state == "queued" else status.stage, fraction)
        detail = status.detail or None
        self._report(replace(progress, step=status.step, steps=status.steps, eta_s=status.eta_s, detail=detail))

    async def _ended(self, remote: RemoteJob) -> None:
        if not self._is_left():
            await self._called_off(remote)

    async def _called_off(self, remote: RemoteJob) -> None:
        """Stop the job over there and wait for its end. Then it is forgotten: it must not be found again."""
        client = self._client_of(remote.endpoint)
        try:
            async with asyncio.timeout(_CANCEL_S):
                await client.cancel(remote.job_id)
                await client.wait(remote.job_id)
        except (UnknownJob, TimeoutError) as error:
            log.info("the remote job %s was called off: %s", remote.job_id, error or "its end was not seen")
        except ClientError as error:
            log.warning("the remote job %s may still be running: %s", remote.job_id, error)
        await self._forget()

    async def _forget(self) -> None:
        """
        Note that nothing of the render is over there now. It may be sent again, so it stays known: if this process dies
        before, the next one sends it.
        """
        coming = RemoteJob("", "", self._request.fingerprint, self._request.links)
        await in_thread(self._notes.put, self._request.name, coming)
