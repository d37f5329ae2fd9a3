"""Patch the SDK: two names in the modules of runpod 1.12.0, which is pinned."""

from __future__ import annotations

from typing import Any

from wanworker.serverless import _json_stream
from wanworker.serverless._scaler import without_waits


def patch_sdk(modules: Any) -> None:
    """Take out of *modules*, the SDK's `runpod.serverless.modules`, what costs every job time and memory."""
    modules.rp_scale.JobScaler = without_waits(modules.rp_scale.JobScaler)
    modules.rp_http.json = _json_stream
