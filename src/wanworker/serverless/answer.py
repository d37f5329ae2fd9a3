"""Build answers for RunPod: strict JSON within its size limits, and failures in one form. Pure."""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Mapping
from typing import Any

from wanworker.errors import WorkerError

#: RunPod's documented limits on a result ("Handler functions"), in the megabytes that its pages use.
RUN_LIMIT_BYTES = 10 * 1000**2
RUNSYNC_LIMIT_BYTES = 20 * 1000**2

#: Room for what the SDK puts around an answer: `{"output": ..., "stopPod": true}`.
_ENVELOPE_BYTES = 1000

#: A longer error text is cut, because it may quote what a caller or an engine wrote.
_MAX_ERROR_CHARS = 10_000

#: Longer texts (base64) are measured by counting characters, not by writing them as JSON.
_LONG_CHARS = 65_536

_ESCAPED = ('"', "\\", "\n")

#: How much of a text a log shows.
_SHOWN = reprlib.Repr()
_SHOWN.maxstring, _SHOWN.maxdict, _SHOWN.maxlevel = 200, 20, 3


class Unprinted(dict[str, Any]):
    """
    Hold an answer whose `repr` is cut short.

    runpod 1.12.0 (serverless/modules/rp_job.py) writes each answer out twice for its debug log, at any log level. For a
    video in base64, nothing else that the SDK does costs as much time and memory.
    """

    def __repr__(self) -> str:
        """Return the answer with its long texts cut."""
        return _SHOWN.repr_dict(self, _SHOWN.maxlevel)


def answer_limit_bytes(job_id: str, override: int | None) -> int:
    """Return how large the JSON of this job's answer may be: *override*, else RunPod's limit for this kind of job."""
    if override is not None:
        return override
    limit = RUNSYNC_LIMIT_BYTES if job_id.startswith("sync-") else RUN_LIMIT_BYTES
    return limit - _ENVELOPE_BYTES


def strict(value: object) -> Any:
    """
    Return *value* as JSON that every reader takes. The SDK silently drops a result with anything else in it.

    NaN and infinities become null, lone surrogates U+FFFD, keys strings, and other objects their text. ASCII text, such
    as base64 of any length, is neither scanned nor copied.
    """
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        return value if value.isascii() else _without_surrogates(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {strict(str(key)): strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [strict(item) for item in value]
    return strict(str(value))


def size_bytes(value: object) -> int:
    """Return the size of strict JSON as the SDK writes it (UTF-8, not escaped), without writing out long texts."""
    if isinstance(value, str):
        return _text_bytes(value)
    if isinstance(value, dict):
        entries = sum(size_bytes(key) + size_bytes(item) + 2 for key, item in value.items())
        return entries + 2 + 2 * max(0, len(value) - 1)
    if isinstance(value, list):
        return sum(map(size_bytes, value)) + 2 + 2 * max(0, len(value) - 1)
    return len(json.dumps(value))


def fit_to_limit(answer: dict[str, Any], limit_bytes: int) -> dict[str, Any]:
    """Return *answer* if it fits. Raises WorkerError if not: RunPod would show it as COMPLETED without any output."""
    size = size_bytes(answer)
    if size > limit_bytes:
        raise WorkerError(
            f"The answer has {size:,} bytes, and at most {limit_bytes:,} can be returned.",
            hint="Ask for less: the status action with return_video false names the files on the volume.",
        )
    return answer


def error_answer(error: Exception, request_id: str) -> dict[str, Any]:
    """Return a failure as callers read it. RunPod marks a job with a top-level `error` as FAILED."""
    if not isinstance(error, WorkerError):
        error = WorkerError(f"Internal error; see the worker's log for request {request_id}.")
    text = str(error).strip() or f"The job failed with {error.code}, without any message."
    if len(text) > _MAX_ERROR_CHARS:
        text = f"{text[:_MAX_ERROR_CHARS]} ..."
    answer = {"request_id": request_id, "error": text, "status": error.status, "code": error.code, "hint": error.hint}
    return {key: strict(value) for key, value in answer.items()}


def _without_surrogates(text: str) -> str:
    """Join surrogates that form pairs, and replace the others."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _text_bytes(text: str) -> int:
    if len(text) < _LONG_CHARS or not text.isascii():
        return len(json.dumps(text, ensure_ascii=False).encode())
    # Base64 has none of these characters, and `in` finds that out five times faster than a count. Rarer control
    # characters would add a few bytes.
    return len(text) + 2 + sum(text.count(each) for each in _ESCAPED if each in text)
