"""
The errors of the client.

* ClientError
  + Refused          the request cannot be carried out as it is; it was not sent, or the target refused it
  + Unauthorised     the target refuses the key
  + UnknownJob       the target does not know this job, or no longer
  + JobFailed        the job failed over there
  + JobCancelled     the job was cancelled
  + SaveFailed       the video could not be written here
  + WaitedTooLong    the caller's own time limit passed
  + TargetFailed     the job may be fine: what carries it failed, and the same request may succeed later or elsewhere
    - Unreachable    no usable answer
    - Busy           the queue stays full (429)
    - PlatformFailed the worker died, or RunPod ended the job, whatever the job was
    - ResultLost     the video is not there (any more), or did not arrive whole

Branch on the class, or on `code`, which is stable. A worker's failure brings the worker's own code along.
"""

from __future__ import annotations

from typing import ClassVar

from wanworker.text.secrets import without_secrets


class ClientError(Exception):
    """
    Say what went wrong, in words for a person, without secrets.

    `code` is for programs, `hint` says what to do, and `job_id` names the job if there is one. `warnings` are what the
    target changed or ignored in a job that failed.
    """

    default_code: ClassVar[str] = "CLIENT_ERROR"

    def __init__(self, text: str, *, hint: str = "", code: str = "", job_id: str = "") -> None:
        super().__init__(without_secrets(text))
        self.hint = without_secrets(hint)
        self.code = code or self.default_code
        self.job_id = job_id
        self.warnings: tuple[str, ...] = ()


class Refused(ClientError):
    """The request cannot be carried out as it is. It was not sent, or the target refused it."""

    default_code = "REFUSED"


class Unauthorised(ClientError):
    """The target refuses the key."""

    default_code = "UNAUTHORISED"


class UnknownJob(ClientError):
    """The target does not know this job, or no longer."""

    default_code = "UNKNOWN_JOB"


class JobFailed(ClientError):
    """The job failed. The text, the hint and the code are the worker's own."""

    default_code = "FAILED"


class JobCancelled(ClientError):
    """The job was cancelled, here or by somebody else."""

    default_code = "CANCELLED"


class SaveFailed(ClientError):
    """The video could not be written on this machine. The job is done, and its video can be downloaded again."""

    default_code = "NOT_SAVED"


class WaitedTooLong(ClientError):
    """The caller's own time limit passed. `code` is QUEUED_TOO_LONG if the job had not even begun."""

    default_code = "WAITED_TOO_LONG"


class TargetFailed(ClientError):
    """The job is not to blame. The same request may succeed later, or on another target."""

    default_code = "TARGET_FAILED"


class Unreachable(TargetFailed):
    """The target gives no usable answer. A job that was sent may be running there."""

    default_code = "UNREACHABLE"


class Busy(TargetFailed):
    """The target's queue stays full (429), so it has not taken the job."""

    default_code = "BUSY"


class PlatformFailed(TargetFailed):
    """
    The worker died, or RunPod ended the job, whatever the job was.

    `code` is INTERRUPTED, WORKER_LOST or TIMED_OUT, or FAILED if RunPod does not say why.
    """

    default_code = "PLATFORM_FAILED"


class ResultLost(TargetFailed):
    """The job is done, but its video is not there (any more), or did not arrive whole."""

    default_code = "LOST"
