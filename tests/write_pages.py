"""
Write the parts of the pages that come from the code: PYTHONPATH=src:scripts .venv/bin/python tests/write_pages.py

Such a part stands between `<!-- generated: NAME -->` and `<!-- end -->`; PARTS has a function for each NAME.
tests/test_documents.py fails while a page has anything else there.
"""

from __future__ import annotations

import functools
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import page_tables as tables
import page_tables_faults as faults
import page_tables_mini as mini
import pages
from wanworker import errors
from wanworker.actions import ACTIONS
from wanworker.actions.comfyui._i2v_request import I2vRequest
from wanworker.actions.comfyui._inputs import InputField
from wanworker.actions.comfyui.models import ModelsRequest
from wanworker.actions.comfyui.workflow import WorkflowRequest
from wanworker.actions.generate.plan import PlanRequest
from wanworker.actions.generate.request import GenerateRequest
from wanworker.actions.health import HealthRequest
from wanworker.actions.request.fields import Request
from wanworker.actions.request.lora import LoraField
from wanworker.actions.status import StatusRequest
from wanworker.app import Worker
from wanworker.engines import ENGINES
from wanworker.errors import WorkerError
from wanworker.jobs.model import JobStatus
from wanworker.jobs.runner import QueueFull
from wanworker.rest._app import create_app
from wanworker.rest.http import errors as rest_errors
from wanworker.rest.schemas.generate import GenerateBody
from wanworker.settings import Settings
from wanworker.videos.request import VideoBody

COMMAND = "PYTHONPATH=src:scripts .venv/bin/python tests/write_pages.py"

REQUESTS: dict[str, type[Request]] = {
    "generate": GenerateRequest,
    "plan": PlanRequest,
    "status": StatusRequest,
    "health": HealthRequest,
    "comfyui_workflow": WorkflowRequest,
    "comfyui_i2v": I2vRequest,
    "comfyui_models": ModelsRequest,
}

#: REST's answers that have a table.
ANSWERS = (
    *("Started", "Status", "Result", "Video", "Jobs", "Deleted", "Plan", "PlannedVideo", "PlannedRecipe"),
    *("Health", "Queue", "Card", "Failure", "VideoObject", "VideoError", "ErrorObject"),
)

#: What docs/api.md says of each action.
ACTION_MEANINGS = {
    "health": "Says what this worker can do.",
    "status": "Says what became of a job, and returns its video.",
    "generate": "Makes a video.",
    "plan": "Says what `generate` would make of the same fields, how long it takes and what it costs.",
    "comfyui_workflow": "Runs your own ComfyUI graph and returns what it saves.",
    "comfyui_i2v": "Makes a video from a picture, by our graph on ComfyUI.",
    "comfyui_models": "Lists the model files that ComfyUI can load, and the workflows that have names.",
}

STATUS_MEANINGS = {
    "QUEUED": "It waits for its turn.",
    "RUNNING": "It is being rendered.",
    "COMPLETED": "The video is there and was checked.",
    "ERROR": "It failed, or its worker died (`INTERRUPTED`).",
    "TIMEOUT": "Its deadline passed.",
    "NO_OUTPUT": "The engine reported success and left no usable file.",
    "CANCELLED": "It was cancelled.",
}


def rest_refusals() -> list[type[WorkerError]]:
    """Return every error that only the REST API answers, by its status."""
    theirs = [kind for kind in vars(rest_errors).values() if isinstance(kind, type) and issubclass(kind, WorkerError)]
    own = [kind for kind in theirs if kind not in {errors.RequestError, WorkerError}]
    return sorted([*own, QueueFull], key=lambda kind: kind.http_status)


@functools.cache
def openapi() -> dict[str, Any]:
    """Return the REST API's own description of itself."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(out_dir=Path(folder) / "outputs", ckpt_dir=Path(folder) / "models")
        return create_app(Worker(settings), settings).openapi()


def _parts() -> dict[str, Callable[[], str]]:
    parts: dict[str, Callable[[], str]] = {
        f"fields of {name}": functools.partial(tables.request_table, model)
        for name, model in REQUESTS.items()
        if model.model_fields
    }
    for name in ANSWERS:
        parts[f"keys of {name}"] = functools.partial(_answer, name)
    for tag in ("jobs", "videos", "server", "runpod"):
        parts[f"routes: {tag}"] = functools.partial(_routes, tag)
    parts["fields of plan"] = functools.partial(tables.request_table, PlanRequest, beside=GenerateRequest)
    return parts | {
        "fields of images[]": functools.partial(tables.request_table, InputField),
        "fields of loras[]": functools.partial(tables.request_table, LoraField),
        "fields of POST /generate": functools.partial(tables.request_table, GenerateBody),
        "fields of POST /v1/videos": functools.partial(tables.request_table, VideoBody),
        "fields of the client": tables.client_table,
        "tasks": tables.tasks_table,
        "ranges": tables.ranges_table,
        "statuses": lambda: tables.words_table("Status|Meaning", [each.value for each in JobStatus], STATUS_MEANINGS),
        "actions": lambda: tables.actions_table(ACTIONS, ACTION_MEANINGS),
        "engines": lambda: tables.engines_table(ENGINES),
        "weight files": tables.weights_table,
        "recipes": tables.recipes_table,
        "variables": tables.settings_table,
        "errors": tables.errors_table,
        "fault matrix": faults.matrix_table,
        "miniature: words": mini.words_table,
        "miniature: measured": mini.measured_table,
        "errors of REST": lambda: tables.refusals_table(rest_refusals()),
    }


def _answer(name: str) -> str:
    return tables.answer_table(openapi()["components"]["schemas"][name])


def _routes(tag: str) -> str:
    return tables.routes_table(openapi(), tag=tag)


PARTS = _parts()


def written(page: str) -> str:
    """Return the text of a page with each of its parts from the code as the code has it now."""
    return pages.with_parts(page, lambda name: PARTS[name]())


def main() -> None:
    """Write every page anew that is not what the code says."""
    for path in pages.pages():
        text = path.read_text(encoding="utf-8")
        if written(text) != text:
            path.write_text(written(text), encoding="utf-8")
            sys.stdout.write(f"{path.relative_to(pages.ROOT)}\n")


if __name__ == "__main__":
    main()
