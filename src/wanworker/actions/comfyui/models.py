"""`comfyui_models`: list the model files that ComfyUI can load, and the workflows that can be called by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wanworker.actions.base import Action, Context
from wanworker.actions.comfyui._workflow_files import WorkflowFile, WorkflowFiles
from wanworker.actions.request.fields import Request, parse
from wanworker.errors import EngineError, EngineUnavailable, RequestError
from wanworker.media.threads import in_thread

if TYPE_CHECKING:
    from wanworker.engines.comfyui.engine import ComfyUI


class ModelsRequest(Request):
    """Take no fields."""


async def run(fields: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """
    Return the server's model lists, or those of the volume's folders while the server is offline; `source` says which.

    The slots of the workflows come from the same source. A file that is no workflow is listed with its error.
    """
    _, warnings = parse(ModelsRequest, fields)
    engine = context.comfyui()
    lists, source = await _lists(engine)
    answer: dict[str, Any] = {
        "status": "success",
        "models": {folder: list(names) for folder, names in lists.items()},
        "source": source,
        "workflows": await _workflows(context, is_online=source == "server"),
    }
    return answer | ({"warnings": warnings} if warnings else {})


async def _lists(engine: ComfyUI) -> tuple[Mapping[str, tuple[str, ...]], str]:
    if await engine.probe() == "online":
        try:
            return await engine.server_lists(), "server"
        except EngineUnavailable:
            pass
    return engine.lists.from_folders(), "folders"


async def _workflows(context: Context, *, is_online: bool) -> list[dict[str, Any]]:
    files = await in_thread(lambda: WorkflowFiles(context.settings).all())
    return [await _described(file, context.comfyui(), is_online=is_online) for file in files]


async def _described(file: WorkflowFile, engine: ComfyUI, *, is_online: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": file.name, "source": file.source}
    try:
        listed = await engine.slots_of(await in_thread(file.read), is_online=is_online)
    except (RequestError, EngineError) as error:
        return entry | {"slots": [], "error": str(error)}
    entry["slots"] = [slot.to_json() for slot in listed.slots]
    return entry | ({"note": listed.note} if listed.note else {})


ACTION = Action("comfyui_models", run, ModelsRequest)
