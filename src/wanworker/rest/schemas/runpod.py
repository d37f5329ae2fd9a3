"""Define what may stand beside `input` in a RunPod job. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wanworker.actions.request.fields import Request, parse


class RunPodEnvelope(Request):
    """Define the fields of the body of /run and /runsync. `webhook` and `policy` are handled by RunPod itself."""

    id: Any = None
    input: Any = None
    s3Config: Any = None  # noqa: N815 - RunPod's name
    webhook: Any = None
    policy: Any = None


def remarks_on(body: Mapping[str, Any]) -> list[str]:
    """Return a warning for each unknown field of *body*. The action checks the fields inside `input`."""
    return parse(RunPodEnvelope, body)[1]
