"""
The tree of all errors.

* WorkerError                    status ERROR, http 500
  x RequestError                 the caller's to fix, http 422
    + UnknownAction
    + InvalidRequest             carries the field
    + InputUnavailable           a URL, base64 text or path that could not be read
    + InputRefused               an input that we will not read
    + UnknownJob                 http 404
    + RequestIdReused            http 409
    + ModelNotFound              says what was searched
    + GraphRefused
  x EngineError                  ours to fix
    + EngineUnavailable          http 503
    + EngineFailed               carries the last lines that the engine wrote
    + OutOfMemory
    + EngineTimeout              status TIMEOUT, http 504
      - GraphTimeout             status timeout, as the comfyui_* actions are documented
    + NoOutput                   status NO_OUTPUT
    + Interrupted
    + DiskFull                   http 507

A door renders any of them from its class attributes, without asking which one it is. `code` is stable: clients
branch on it. The message alone must suffice, because RunPod may drop every other key of a failed job.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from wanworker.text.secrets import without_secrets


class WorkerError(Exception):
    """
    Carry a failure to a door, in words for the person who sent the job.

    The words may quote a program, a server or a URL. Secrets in them are blotted out here, before an answer, log or
    record can hold them.
    """

    code: ClassVar[str] = "INTERNAL"
    status: ClassVar[str] = "ERROR"
    http_status: ClassVar[int] = 500
    default_hint: ClassVar[str] = "See the worker's log for this request id."

    #: Whether the engine's process was lost with the job: it died, hung, or its card failed. Another card may do it.
    lost_engine: bool = False

    def __init__(self, message: str, *, hint: str | None = None, field: str | None = None) -> None:
        super().__init__(without_secrets(message))
        self.hint = without_secrets(hint) if hint else self.default_hint
        self.field = field

    def advise(self, more: str) -> None:
        """Add a sentence to the hint."""
        if more:
            self.hint = f"{self.hint} {without_secrets(more)}"


class RequestError(WorkerError):
    """The caller can fix this by sending something else."""

    code = "INVALID_REQUEST"
    http_status = 422
    default_hint = "Correct the request and send it again."


class UnknownAction(RequestError):
    """The job asks for an action that does not exist."""

    code = "UNKNOWN_ACTION"
    default_hint = "Set `action` to one of the names in the message."


class InvalidRequest(RequestError):
    """A field is missing, has the wrong type or is out of range. `field` names it where there is one."""


class InputUnavailable(RequestError):
    """An input file could not be read: the server refused, the text is not base64, or the file is not a picture."""

    code = "INPUT_UNAVAILABLE"
    default_hint = "Check that the URL, base64 text or path gives the file that you mean."


class InputRefused(RequestError):
    """
    The worker refuses to read an input, for example a private address, a path outside its folders or a huge picture.
    """

    code = "INPUT_REFUSED"
    default_hint = "Send a public http(s) URL or base64 text within the documented limits."


class UnknownJob(RequestError):
    """No record of this request id exists on the volume."""

    code = "UNKNOWN_JOB"
    http_status = 404
    default_hint = "Use the request_id of the answer, or the id that RunPod's /run returned."


class RequestIdReused(RequestError):
    """The request id already names a different request."""

    code = "REQUEST_ID_REUSED"
    http_status = 409
    default_hint = "A request_id is an idempotency key: use a new one for a new request."


class ModelNotFound(RequestError):
    """The weights for the request are missing. The hint says where they were looked for."""

    code = "MODEL_NOT_FOUND"
    default_hint = "Put the weights below the models folder, or choose a task or engine whose weights are there."


class GraphRefused(RequestError):
    """A ComfyUI graph cannot run."""

    code = "GRAPH_REFUSED"


class EngineError(WorkerError):
    """The request was good, but the engine could not carry it out."""

    code = "ENGINE_ERROR"


class EngineUnavailable(EngineError):
    """The engine cannot be started or reached."""

    code = "ENGINE_UNAVAILABLE"
    http_status = 503
    default_hint = 'Try again shortly; `{"health": true}` says which engines are ready.'


class EngineFailed(EngineError):
    """The engine ran and failed; the message ends with its last output."""

    code = "ENGINE_FAILED"


class OutOfMemory(EngineError):
    """The GPU or the machine ran out of memory."""

    code = "OUT_OF_MEMORY"
    default_hint = "Use a smaller size or fewer frames, set offload_model, or use a card with more memory."


class EngineTimeout(EngineError):
    """The job's deadline passed, and the engine was stopped."""

    code = "ENGINE_TIMEOUT"
    status = "TIMEOUT"
    http_status = 504
    default_hint = "Raise `timeout`, or ask for fewer steps, fewer frames or a smaller size."


class GraphTimeout(EngineTimeout):
    """The deadline of a comfyui_* job passed. Its documented status is lower-case."""

    status = "timeout"


class NoOutput(EngineError):
    """The engine reported success but left no usable file."""

    code = "NO_OUTPUT"
    status = "NO_OUTPUT"


class Interrupted(EngineError):
    """The worker that rendered the job died before the job ended."""

    code = "INTERRUPTED"
    default_hint = "Send the same request again: it is rendered as a new attempt."


class DiskFull(EngineError):
    """There is too little free space for the output."""

    code = "DISK_FULL"
    http_status = 507
    default_hint = "Free some space on the output volume, or attach a larger one."


#: What a render can end with, by code, wherever it ran: in a child process, or on a worker elsewhere.
RENDER_ERRORS: Mapping[str, type[WorkerError]] = {
    error.code: error
    for error in (
        *(InvalidRequest, InputUnavailable, InputRefused, ModelNotFound, EngineError, EngineUnavailable, EngineFailed),
        *(OutOfMemory, EngineTimeout, NoOutput, DiskFull),
    )
}
