"""`comfyui_models`: list the model files that ComfyUI can load, and the workflows that can be called by name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import Field

from wanworker.actions.base import Action, Context
from wanworker.actions.comfyui._workflow_files import WorkflowFile, WorkflowFiles
from wanworker.actions.request.fields import Request, parse
from wanworker.errors import EngineError, EngineUnavailable, RequestError
from wanworker.media.threads import in_thread

if TYPE_CHECKING:
    from wanworker.engines.comfyui.engine import ComfyUI

_T = TypeVar("_T")


class ModelsRequest(Request):
    """The fields of `comfyui_models`."""

    classes: tuple[str, ...] = Field(
        default=(), max_length=1000, description="Node classes; the answer has the choices of their inputs alone."
    )


async def run(fields: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """
    Return the server's model lists, or those of the volume's folders while the server is offline; `source` says which.

    The slots of the workflows come from the same source. A file that is no workflow is listed with its error. A request
    with `classes` gets the choices of their inputs instead.
    """
    request, warnings = parse(ModelsRequest, fields)
    engine = context.comfyui()
    told = await (_choices(engine, request.classes) if request.classes else _models(engine, context))
    return {"status": "success", **told} | ({"warnings": warnings} if warnings else {})


async def _choices(engine: ComfyUI, classes: Sequence[str]) -> dict[str, Any]:
    found, source = await _asked(
        engine, lambda: engine.server_choices(classes), lambda: engine.lists.choices_of(classes)
    )
    return {"choices": {name: [each.to_json() for each in rows] for name, rows in found.items()}, "source": source}


async def _models(engine: ComfyUI, context: Context) -> dict[str, Any]:
    lists, source = await _asked(engine, engine.server_lists, engine.lists.from_folders)
    return {
        "models": {folder: list(names) for folder, names in lists.items()},
        "source": source,
        "workflows": await _workflows(context, is_online=source == "server"),
    }


async def _asked(
    engine: ComfyUI, by_server: Callable[[], Awaitable[_T]], by_folders: Callable[[], _T]
) -> tuple[_T, str]:
    if await engine.probe() == "online":
        try:
            return await by_server(), "server"
        except EngineUnavailable:
            pass
    return await in_thread(by_folders), "folders"


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
