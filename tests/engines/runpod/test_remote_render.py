"""A render on a fleet whose endpoints do not answer for a while."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wanworker.client import ClientError, JobStatus, Unreachable
from wanworker.engines.runpod._fleet import Fleet
from wanworker.engines.runpod._remote_render import Policy, RemoteRender, RemoteRequest
from wanworker.engines.runpod.remote_jobs import RemoteJobs
from wanworker.settings import WeightedEndpoint


class Endpoint:
    """An endpoint that takes jobs, and answers each question with the next of *ends*, then COMPLETED."""

    def __init__(self, ends: list[ClientError]) -> None:
        self.ends = ends
        self.calls: list[str] = []

    async def submit(self, *, job: Any) -> str:
        assert "input" in job
        self.calls.append("run")
        return f"job-{self.calls.count('run')}"

    async def wait(self, job_id: str, **_: Any) -> JobStatus:
        self.calls.append("wait")
        if self.ends:
            raise self.ends.pop(0)
        return JobStatus(job_id, "completed")

    async def cancel(self, _job_id: str) -> str:
        self.calls.append("cancel")
        return "cancelled"


@pytest.mark.parametrize(
    ("names", "calls"),
    [
        (("one",), [["run", "wait", "wait", "wait"]]),
        (("one", "two"), [["run", "wait", "wait", "wait"], []]),  # both are RunPod's, which does not answer
        (("one", "http://other/v2/x"), [["run", "wait", "cancel", "wait"], ["run", "wait"]]),
    ],
)
async def test_a_job_that_cannot_be_asked_for_is_asked_for_again_or_goes_to_another_server(
    names: tuple[str, ...], calls: list[list[str]], tmp_path: Path
) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    async def fetch(_client: Any, _status: JobStatus) -> None:
        pass

    away = Unreachable("no answer")
    endpoints: dict[str, Any] = {name: Endpoint([away, away] if name == "one" else []) for name in names}
    fleet = Fleet([WeightedEndpoint(name) for name in names], clock=lambda: 0.0)
    render = RemoteRender(
        RemoteRequest("a", {"input": {}}, "print", {}),
        fleet,
        RemoteJobs(tmp_path),
        client_of=endpoints.__getitem__,
        sender_of=endpoints.__getitem__,
        fetch=fetch,
        policy=Policy(sleep=sleep),
        report=lambda _progress: None,
        is_left=lambda: False,
    )
    _, status = await render.completed(None)

    assert "completed" == status.state
    assert calls == [endpoint.calls for endpoint in endpoints.values()]
