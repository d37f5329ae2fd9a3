"""The client for programs without asyncio. Every method is AsyncClient's, waited for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, Unpack

from wanworker.client._answers import JobPage, JobStatus, OnProgress, OnWarning, Plan, Result, State
from wanworker.client._async_client import AsyncClient
from wanworker.client._loop_thread import LoopThread
from wanworker.client.request import VideoFields


class Client:
    """
    Send jobs to a REST server (*url*) or to a RunPod endpoint (*endpoint*: its id, or an address), and follow them.

    The arguments are AsyncClient's. Close the client, or use it in `with`. Ctrl-C in `render` or `run` cancels the job
    over there too. Threads may share a client.
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
        self._client = AsyncClient(
            url, endpoint=endpoint, key=key, allow_hosts=allow_hosts, patience_s=patience_s, poll_s=poll_s
        )
        self._thread = LoopThread()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections and end the client's thread. A later call opens new ones."""
        if self._thread.is_running:
            self._thread.run(lambda _: self._client.close(), None)
            self._thread.stop()

    def render(
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
        """Render a video, wait for it and return it; see AsyncClient.render. Raises ClientError."""
        return self._thread.run(
            lambda said: self._client.render(
                prompt,
                output=output,
                force=force,
                job=job,
                on_progress=said,
                wait_timeout_s=wait_timeout_s,
                **fields,
            ),
            on_progress,
        )

    def run(
        self,
        prompt: str | None = None,
        *,
        job: Mapping[str, Any] | None = None,
        on_progress: OnProgress | None = None,
        wait_timeout_s: float | None = None,
        **fields: Unpack[VideoFields],
    ) -> JobStatus:
        """Send a job and wait for its end; see AsyncClient.run. Raises ClientError."""
        return self._thread.run(
            lambda said: self._client.run(prompt, job=job, on_progress=said, wait_timeout_s=wait_timeout_s, **fields),
            on_progress,
        )

    def submit(
        self,
        prompt: str | None = None,
        *,
        job: Mapping[str, Any] | None = None,
        on_warning: OnWarning | None = None,
        **fields: Unpack[VideoFields],
    ) -> str:
        """Send a job and return its id; see AsyncClient.submit. Raises ClientError."""
        return self._thread.run(
            lambda said: self._client.submit(prompt, job=job, on_warning=said if on_warning else None, **fields),
            on_warning,
        )

    def plan(
        self,
        prompt: str | None = None,
        *,
        price_per_hour: float | None = None,
        job: Mapping[str, Any] | None = None,
        **fields: Unpack[VideoFields],
    ) -> Plan:
        """Say what `submit` would make, without rendering; see AsyncClient.plan. Raises ClientError."""
        return self._thread.run(
            lambda _: self._client.plan(prompt, price_per_hour=price_per_hour, job=job, **fields), None
        )

    def status(self, job_id: str) -> JobStatus:
        """Say where a job is; see AsyncClient.status. Raises ClientError."""
        return self._thread.run(lambda _: self._client.status(job_id), None)

    def wait(
        self,
        job_id: str,
        *,
        on_progress: OnProgress | None = None,
        wait_timeout_s: float | None = None,
        queue_timeout_s: float | None = None,
    ) -> JobStatus:
        """Wait until a job is over; see AsyncClient.wait. Raises ClientError."""
        return self._thread.run(
            lambda said: self._client.wait(
                job_id, on_progress=said, wait_timeout_s=wait_timeout_s, queue_timeout_s=queue_timeout_s
            ),
            on_progress,
        )

    def cancel(self, job_id: str) -> State:
        """Stop a job; see AsyncClient.cancel. Raises ClientError."""
        return self._thread.run(lambda _: self._client.cancel(job_id), None)

    def download(
        self,
        job_id: str,
        output: str | PathLike[str] | None = None,
        *,
        force: bool = False,
        thumbnails: bool = False,
    ) -> Result:
        """Fetch the files of a finished job; see AsyncClient.download. Raises ClientError."""
        return self._thread.run(
            lambda _: self._client.download(job_id, output, force=force, thumbnails=thumbnails), None
        )

    def save(
        self,
        status: JobStatus,
        output: str | PathLike[str] | None = None,
        *,
        force: bool = False,
        thumbnails: bool = False,
    ) -> Result:
        """Fetch the files of the last status of a job; see AsyncClient.save. Raises ClientError."""
        return self._thread.run(lambda _: self._client.save(status, output, force=force, thumbnails=thumbnails), None)

    def jobs(self, *, limit: int = 50, cursor: str | None = None) -> JobPage:
        """List a REST server's jobs; see AsyncClient.jobs. Raises ClientError."""
        return self._thread.run(lambda _: self._client.jobs(limit=limit, cursor=cursor), None)
