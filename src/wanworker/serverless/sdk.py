"""Patch the SDK: four names in the modules of runpod 1.12.0, which is pinned."""

from __future__ import annotations

from typing import Any

from wanworker.serverless import _json_stream
from wanworker.serverless._result_posts import marked_as_result, patient
from wanworker.serverless._scaler import without_waits


def patch_sdk(modules: Any) -> None:
    """Replace, in *modules* (the SDK's `runpod.serverless.modules`), what costs jobs time, memory or their result."""
    modules.rp_scale.JobScaler = without_waits(modules.rp_scale.JobScaler)
    modules.rp_http.json = _json_stream
    modules.rp_http._transmit = patient(modules.rp_http._transmit)
    modules.rp_job.send_result = marked_as_result(modules.rp_job.send_result)
