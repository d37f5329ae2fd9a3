"""Set RunPod's own limits of a job by the job's deadline. Pure."""

from __future__ import annotations

#: RunPod's limit exceeds the worker's own deadline by this, for the start of the engine and for delivery.
_GRACE_S = 120.0

#: How long a job lives, its wait in the queue included, where it says nothing. RunPod deletes it then even if it runs.
_LIFE_S = 86_400.0


def policy_of(timeout_s: float) -> dict[str, int]:
    """Return the `policy` of a job with a deadline of *timeout_s* seconds. A long one lives for a day more."""
    execution_s = timeout_s + _GRACE_S
    policy = {"executionTimeout": round(execution_s * 1000)}
    if execution_s > _LIFE_S / 2:
        policy["ttl"] = round((execution_s + _LIFE_S) * 1000)
    return policy
