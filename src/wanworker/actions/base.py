"""Define what an action is and what it can use."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wanworker.actions.request.fields import Request
from wanworker.engines.base import Report
from wanworker.engines.machine.facts import MachineFacts
from wanworker.engines.registry import EngineRegistry
from wanworker.jobs.store.job_store import JobStore
from wanworker.media.inputs.reader import InputReader
from wanworker.media.outputs.bucket import Bucket, NoBucket, configured_bucket
from wanworker.render import Renderer
from wanworker.settings import Settings

if TYPE_CHECKING:
    from wanworker.engines.comfyui.engine import ComfyUI


@dataclass(frozen=True, slots=True)
class Call:
    """
    Hold what a door knows of one call.

    `request_id` is used where the caller names none. `answer_limit_bytes` bounds the whole JSON answer. `s3_config` is
    the job's own bucket as it came; it is a secret, so it is neither logged nor stored.
    """

    request_id: str
    runpod_id: str | None
    report: Report
    answer_limit_bytes: int
    s3_config: object = None


@dataclass(frozen=True, slots=True)
class Context:
    """
    Hold everything that an action can reach: the call, and the live parts of the worker.

    `own_bucket` is the bucket of the call's `s3_config`, already checked.
    """

    call: Call
    settings: Settings
    renderer: Renderer
    store: JobStore
    inputs: InputReader
    facts: MachineFacts
    registry: EngineRegistry
    own_bucket: Bucket | None = None

    def comfyui(self) -> ComfyUI:
        """Return the ComfyUI engine, which the comfyui_* actions use unless a request names another."""
        from wanworker.engines.comfyui.engine import ComfyUI  # a slow import, kept out of the start

        engine = self.registry.engine("comfyui")
        assert isinstance(engine, ComfyUI)
        return engine

    def bucket(self) -> Bucket | NoBucket | None:
        """Return the bucket for this call's videos: the job's own, else the worker's, else None."""
        if self.own_bucket is not None:
            return self.own_bucket
        return configured_bucket(*self.settings.bucket_parts)


@dataclass(frozen=True, slots=True)
class Action:
    """
    Hold one row of the ACTIONS table.

    `fields` is the model that `run` reads the job's fields by. `implied_by` says whether a job without an action means
    this one. It is asked about
    the fields that some action knows. Where several would, the first row of the table wins.
    """

    name: str
    run: Callable[[Mapping[str, Any], Context], Awaitable[dict[str, Any]]]
    fields: type[Request]
    aliases: tuple[str, ...] = ()
    implied_by: Callable[[Mapping[str, Any]], bool] = lambda _payload: False
