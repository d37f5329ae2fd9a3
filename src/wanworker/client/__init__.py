"""
A client for REST servers of ours and for RunPod endpoints.

    with Client("http://127.0.0.1:8189") as client:
        result = client.render("a red star", output="star.mp4")

`Client` waits, `AsyncClient` is for asyncio. docs/api.md describes both.
"""

from wanworker.client._answers import JobPage, JobStatus, OnProgress, OnWarning, OutputFile, Plan, Result, State
from wanworker.client._async_client import AsyncClient
from wanworker.client._client import Client
from wanworker.client.errors import (
    Busy,
    ClientError,
    JobCancelled,
    JobFailed,
    PlatformFailed,
    Refused,
    ResultLost,
    SaveFailed,
    TargetFailed,
    Unauthorised,
    UnknownJob,
    Unreachable,
    WaitedTooLong,
)
from wanworker.client.request import File, VideoFields

__all__ = [
    "AsyncClient",
    "Busy",
    "Client",
    "ClientError",
    "File",
    "JobCancelled",
    "JobFailed",
    "JobPage",
    "JobStatus",
    "OnProgress",
    "OnWarning",
    "OutputFile",
    "Plan",
    "PlatformFailed",
    "Refused",
    "Result",
    "ResultLost",
    "SaveFailed",
    "State",
    "TargetFailed",
    "Unauthorised",
    "UnknownJob",
    "Unreachable",
    "VideoFields",
    "WaitedTooLong",
]
