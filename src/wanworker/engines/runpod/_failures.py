"""Translate the client's errors about a remote job into the worker's own. Pure."""

from __future__ import annotations

from wanworker.client import ClientError, JobCancelled, JobFailed, TargetFailed, Unauthorised, UnknownJob, WaitedTooLong
from wanworker.errors import RENDER_ERRORS, EngineFailed, EngineUnavailable, WorkerError

#: Failures of RunPod and of the network. The same request may succeed later, or on another endpoint.
PLATFORM_FAILURES = (TargetFailed, WaitedTooLong, UnknownJob)

#: An endpoint that was deleted, or never was.
_GONE = "HTTP_404"


def is_platform_failure(error: ClientError) -> bool:
    """Say whether the platform failed and not the job, so that the job may be sent again."""
    return isinstance(error, PLATFORM_FAILURES) or error.code == _GONE


def as_ours(error: ClientError) -> WorkerError:
    """Return the error under which a job of this server ends that is not sent again."""
    if isinstance(error, Unauthorised):
        return EngineUnavailable(str(error), hint="RUNPOD_API_KEY of this server is not the key of its endpoints.")
    if isinstance(error, JobCancelled):
        hint = "Somebody cancelled it in RunPod's console or by its API. Send it again if you want it."
        return EngineFailed(f"The job was cancelled at its endpoint, and not here: {error}", hint=hint)
    kind: type[WorkerError] = EngineFailed
    if isinstance(error, JobFailed):
        kind = RENDER_ERRORS.get(error.code, EngineFailed)
    return kind(str(error), hint=error.hint or None)


def after_all(failures: list[str]) -> EngineUnavailable:
    """Return the error of a job that no endpoint carried out. *failures* are what each try came to."""
    told = "; ".join(dict.fromkeys(failures))
    hint = "The endpoints' logs and workers are in RunPod's console. Send the job again when they work."
    return EngineUnavailable(f"RunPod did not carry out the job in {len(failures)} tries: {told}", hint=hint)
