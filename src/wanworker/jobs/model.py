"""Define the record of a job: statuses, transitions, outputs, and its JSON. Pure."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, TypedDict, Unpack

from pydantic import TypeAdapter, ValidationError

from wanworker.errors import Interrupted, InvalidRequest
from wanworker.jobs._owner import Owner
from wanworker.progress import Progress

#: The version of the record's form. Readers ignore unknown keys, so a new key needs no new version.
SCHEMA = 1

#: The version of what a request is hashed by. The first one hashed its spelling, the second what it means.
HASH_VERSION = 2

#: How many characters of a prompt are kept. A request may not have a longer one.
PROMPT_CHARS = 10_000

#: The heartbeat in a waiting job's record lies this far in the future. Its owner is judged by its mark. But older
#: workers, which know no marks, judge by the record alone and would call a long queue dead.
_WAITING_S = 86_400.0

_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class JobStatus(StrEnum):
    """Say where a job's latest attempt is. Each door translates these into its own words."""

    #: The job waits in the queue.
    QUEUED = "QUEUED"
    #: An engine renders it, and its worker sends heartbeats.
    RUNNING = "RUNNING"
    #: The outputs exist and were verified.
    COMPLETED = "COMPLETED"
    #: It failed, or its worker died. `error` says why.
    ERROR = "ERROR"
    #: Its deadline passed and the engine was stopped.
    TIMEOUT = "TIMEOUT"
    #: The engine reported success, but left no usable file.
    NO_OUTPUT = "NO_OUTPUT"
    #: The caller cancelled it.
    CANCELLED = "CANCELLED"

    @property
    def is_terminal(self) -> bool:
        """Say whether this attempt has ended."""
        return not TRANSITIONS[self]

    @property
    def may_run_again(self) -> bool:
        """Say whether the same request, sent again, starts another attempt."""
        return self.is_terminal and self is not JobStatus.COMPLETED


#: Which status may follow which within one attempt. The next attempt starts anew.
TRANSITIONS: Mapping[JobStatus, frozenset[JobStatus]] = {
    JobStatus.QUEUED: frozenset((JobStatus.RUNNING, JobStatus.ERROR, JobStatus.TIMEOUT, JobStatus.CANCELLED)),
    JobStatus.RUNNING: frozenset(
        (JobStatus.COMPLETED, JobStatus.ERROR, JobStatus.TIMEOUT, JobStatus.NO_OUTPUT, JobStatus.CANCELLED)
    ),
    JobStatus.COMPLETED: frozenset(),
    JobStatus.ERROR: frozenset(),
    JobStatus.TIMEOUT: frozenset(),
    JobStatus.NO_OUTPUT: frozenset(),
    JobStatus.CANCELLED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class JobError:
    """Say why a job failed: the stable code that clients branch on, the text, and a hint."""

    code: str
    text: str
    hint: str


#: The end of a job that its caller called off.
CANCELLED = JobError("CANCELLED", "The job was cancelled.", "")


@dataclass(frozen=True, slots=True)
class Output:
    """
    Describe one file that a job made. `kind` is video, image or audio. Fields that a kind does not have are None.

    `seed` is the output's own, in a job that was asked for several.
    """

    path: str
    kind: str
    mime: str
    size_bytes: int
    sha256: str
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    frames: int | None = None
    duration_s: float | None = None
    codec: str | None = None
    has_audio: bool = False
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class FailedOutput:
    """Say why one of several outputs was not made."""

    seed: int
    status: JobStatus
    error: JobError


class JobChanges(TypedDict, total=False):
    """List what may change in a record after its attempt has begun."""

    status: JobStatus
    progress: Mapping[str, Any]
    warnings: tuple[str, ...]
    delivery: Mapping[str, Any] | None
    error: JobError | None
    outputs: tuple[Output, ...]
    failed_outputs: tuple[FailedOutput, ...]
    engine: str | None
    model: str | None
    seed: int | None
    task: str | None
    recipe: Mapping[str, Any] | None
    timings: Mapping[str, float]
    placement: Mapping[str, Any] | None


def _no_progress() -> dict[str, Any]:
    return Progress("", 0.0).to_json()


@dataclass(frozen=True, slots=True)
class Job:
    """
    Hold the latest attempt of a job, as its record has it.

    Times are unix seconds; `created_at` is the first attempt's. `progress` is the form of Progress.to_json;
    `timings` are seconds by stage; `recipe` has the numbers of the sampler; `placement` is where the weights were;
    `delivery` says how the outputs reached the caller. Of several outputs, `seed` is that of the first, and those that
    were not made are in `failed_outputs`. `asked` is what the request says of the video before there is one: `model`,
    `size` and `seconds`, as text. There is no field for a presigned URL, a key or an input file, and none belongs into
    `delivery`: the record outlives them all.
    """

    request_id: str
    action: str
    spec_hash: str
    attempt: int
    owner: Owner
    status: JobStatus
    created_at: float
    heartbeat_at: float
    started_at: float | None = None
    completed_at: float | None = None
    runpod_id: str | None = None
    progress: Mapping[str, Any] = field(default_factory=_no_progress)
    warnings: tuple[str, ...] = ()
    delivery: Mapping[str, Any] | None = None
    error: JobError | None = None
    outputs: tuple[Output, ...] = ()
    failed_outputs: tuple[FailedOutput, ...] = ()
    engine: str | None = None
    model: str | None = None
    seed: int | None = None
    task: str | None = None
    recipe: Mapping[str, Any] | None = None
    timings: Mapping[str, float] = field(default_factory=dict)
    placement: Mapping[str, Any] | None = None
    prompt: str = ""
    asked: Mapping[str, str] | None = None
    hash_version: int = 1
    schema: int = SCHEMA

    @property
    def was_interrupted(self) -> bool:
        """Say whether its worker died before the job ended."""
        return self.error is not None and self.error.code == Interrupted.code

    def percent(self, live: float = 0.0) -> int:
        """Return whole percents, rounded down: what is recorded, or *live* where that is more."""
        if self.status is JobStatus.COMPLETED:
            return 100
        recorded = self.progress.get("progress")
        return int(max(float(recorded) if isinstance(recorded, int | float) else 0.0, live))

    def changed(self, now: float, **changes: Unpack[JobChanges]) -> Job:
        """
        Return this job with *changes*, alive at *now*. A start or an end also stamps its time.

        Raises ValueError for a change of status that TRANSITIONS does not allow.
        """
        after = changes.get("status", self.status)
        if after is not self.status and after not in TRANSITIONS[self.status]:
            raise ValueError(f"Job {self.request_id} is {self.status.value} and cannot become {after.value}.")
        job = replace(self, **changes)
        if not self.status.is_terminal:
            job = replace(job, heartbeat_at=heartbeat(after, now))
        if after is JobStatus.RUNNING and self.started_at is None:
            job = replace(job, started_at=now)
        if after.is_terminal and not self.status.is_terminal:
            job = replace(job, completed_at=now)
        return job

    def interrupted(self, now: float) -> Job:
        """Return this job as it is recorded after its worker has died."""
        text = "interrupted: the worker that rendered it ended before the job did."
        error = JobError(Interrupted.code, text, Interrupted.default_hint)
        return replace(self, status=JobStatus.ERROR, error=error, completed_at=now)

    def to_json(self) -> bytes:
        """Return the record. Lone surrogates, which a prompt from JSON may hold, become question marks."""
        plain = _adapter().dump_python(self, mode="json")
        return json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")

    @classmethod
    def from_json(cls, data: bytes) -> Job:
        """Read a record, ignoring keys of a later version. Raises ValueError if *data* is not a record."""
        try:
            return _adapter().validate_json(data, strict=True)
        except ValidationError as error:
            places = ", ".join(".".join(str(part) for part in item["loc"]) or item["type"] for item in error.errors())
            raise ValueError(f"No record of a job: {places}.") from error


def heartbeat(status: JobStatus, now: float) -> float:
    """Return the `heartbeat_at` of a record that is written at *now*."""
    return now + _WAITING_S if status is JobStatus.QUEUED else now


@functools.cache
def _adapter() -> TypeAdapter[Job]:
    """Build the reader of records when it is first needed, so that importing this module stays quick."""
    return TypeAdapter(Job)


def spec_hash(spec: Mapping[str, Any]) -> str:
    """
    Return the sha256 of *spec* (plain JSON values) in canonical form, where the order of keys does not matter.

    Raises TypeError or ValueError for values that JSON does not have, such as NaN.
    """
    text = json.dumps(dict(spec), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def hashes(meant: Mapping[str, Any], spelled: Mapping[str, Any]) -> tuple[str, str | None]:
    """Return the hash of what a request means, and the former one, of its spelling, where that is another."""
    return spec_hash(meant), None if meant == spelled else spec_hash(spelled)


def is_request_id(text: str) -> bool:
    """Say whether *text* is 1 to 64 ASCII letters, digits, underscores and dashes, and so is safe as a file name."""
    return _REQUEST_ID.fullmatch(text) is not None


def check_request_id(text: str) -> str:
    """Return *text* if it is a valid request id. Raises InvalidRequest."""
    if not isinstance(text, str) or not is_request_id(text):
        message = f"request_id must be 1 to 64 of A-Z a-z 0-9 _ and -; got {str(text)[:80]!r}."
        raise InvalidRequest(message, field="request_id")
    return text
