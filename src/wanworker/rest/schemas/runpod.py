"""What may stand beside `input` in a job as RunPod takes it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wanworker.actions.request.fields import Request, parse


class RunPodEnvelope(Request):
    """The fields of the body of /run and /runsync; `webhook` and `policy` are RunPod's own to act on."""

    id: Any = None
    input: Any = None
    s3Config: Any = None  # noqa: N815 - RunPod's name
    webhook: Any = None
    policy: Any = None


def remarks_on(body: Mapping[str, Any]) -> list[str]:
    """Return a warning for each field of *body* that means nothing; what is inside `input` is the action's to read."""
    return parse(RunPodEnvelope, body)[1]
