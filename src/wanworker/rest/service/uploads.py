"""Put finished videos where their callers asked for: at presigned URLs, which are kept in memory only."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

from wanworker.errors import WorkerError
from wanworker.jobs.model import Job, Output
from wanworker.jobs.several_outputs import number_of
from wanworker.jobs.store.job_store import JobStore
from wanworker.media.outputs.delivery import deliver
from wanworker.media.outputs.upload_url import FIELD, UploadUrl
from wanworker.media.threads import in_thread

log = logging.getLogger(__name__)


class Uploads:
    """
    Hold the URLs of the jobs that wait or render.

    A URL is a right to write, so it is never on the volume. After a restart it is gone, and the job says so.
    """

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._urls: dict[str, tuple[UploadUrl, ...]] = {}

    def expect(self, request_id: str, urls: tuple[UploadUrl, ...]) -> None:
        """Remember where the outputs of a job are to be put."""
        if urls:
            self._urls[request_id] = urls

    def forget(self, request_id: str) -> None:
        """Forget the URLs of a job that will not be rendered here."""
        self._urls.pop(request_id, None)

    async def put(self, job: Job) -> Job:
        """
        Put the outputs of *job*, which is COMPLETED and was asked for uploads, and return its record with how it went.

        No failure of an upload fails the job: the video stays here, to be downloaded.
        """
        urls = self._urls.pop(job.request_id, None)
        if urls is None:
            lost = f"{FIELD} were lost when the server restarted. Download the video instead."
            return await self._recorded(job, None, [lost])
        reports: list[dict[str, Any]] = []
        troubles: list[str] = []
        numbers = [1 if output.seed is None else number_of(output.seed, job.seed or 0) for output in job.outputs]
        putting = (_put(output, urls[number - 1]) for output, number in zip(job.outputs, numbers, strict=True))
        for output, (report, trouble) in zip(job.outputs, await asyncio.gather(*putting), strict=True):
            reports.append(report if output.seed is None else {"seed": output.seed, **report})
            if trouble:
                troubles.append(f"{trouble} The video stays on this server, to be downloaded.")
        delivery = reports[0] if len(urls) == 1 else {"outputs": reports}
        return await self._recorded(job, delivery, troubles)

    async def _recorded(self, job: Job, delivery: dict[str, Any] | None, warnings: list[str]) -> Job:
        try:
            return await in_thread(self._store.update, job, delivery=delivery, warnings=(*job.warnings, *warnings))
        except WorkerError as error:
            log.warning("how job %s was delivered was not recorded: %s", job.request_id, error)
            return job


async def _put(output: Output, url: UploadUrl) -> tuple[dict[str, Any], str]:
    path = Path(output.path)
    delivered = await deliver(
        path,
        mime=output.mime,
        facts=None,
        want_data=False,
        answer_bytes=0,
        limit_bytes=0,
        bucket=None,
        key="",
        work_dir=path.parent,  # nothing is written: without data there is no smaller copy
        upload_to=url,
    )
    return delivered.report, delivered.trouble
