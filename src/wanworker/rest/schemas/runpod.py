"""Define what may stand beside `input` in a RunPod job. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from wanworker.actions.request.fields import Request, Whole, parse
from wanworker.errors import InvalidRequest
from wanworker.text.json_words import kind_of

_POLICY = "policy"
#: RunPod's bound on both times of a policy: seven days.
_LONGEST_MS = 7 * 24 * 3_600_000


class RunPodPolicy(Request):
    """Define the fields of `policy`, as RunPod names them. Times are in milliseconds."""

    executionTimeout: Whole | None = Field(default=None, ge=5_000, le=_LONGEST_MS)  # noqa: N815 - RunPod's names
    ttl: Whole | None = Field(default=None, ge=10_000, le=_LONGEST_MS)
    lowPriority: bool | None = None  # noqa: N815


class RunPodEnvelope(Request):
    """Define the fields of the body of /run and /runsync. The action checks what is inside `input` and `s3Config`."""

    id: Any = None
    input: Any = None
    s3Config: Any = None  # noqa: N815 - RunPod's name
    webhook: str | None = None
    policy: Any = None


@dataclass(frozen=True, slots=True)
class Terms:
    """
    Hold what stands beside `input`.

    `execution_s` is how long the job may run from its turn on, `ttl_s` how long it may live from its arrival on, both
    in seconds and None without a limit. `webhook` is the URL that hears of its end.
    """

    webhook: str | None = None
    execution_s: float | None = None
    ttl_s: float | None = None
    warnings: tuple[str, ...] = ()


def terms_of(body: Mapping[str, Any]) -> Terms:
    """Return the terms of a job, with a warning for each unknown field. Raises InvalidRequest."""
    envelope, warnings = parse(RunPodEnvelope, body)
    policy, remarks = _policy(envelope.policy)
    if policy.lowPriority:
        remarks.append("policy.lowPriority changes nothing here: this server starts no further workers for a job.")
    return Terms(
        webhook=envelope.webhook or None,
        execution_s=_seconds(policy.executionTimeout),
        ttl_s=_seconds(policy.ttl),
        warnings=(*warnings, *remarks),
    )


def _policy(given: object) -> tuple[RunPodPolicy, list[str]]:
    if given is None:
        return RunPodPolicy(), []
    if not isinstance(given, Mapping):
        known = ", ".join(RunPodPolicy.model_fields)
        raise InvalidRequest(f"policy must be an object with {known}; got {kind_of(given)}.", field=_POLICY)
    return parse(RunPodPolicy, given, within=(_POLICY,))


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
