"""`comfyui_models`: list the model files that ComfyUI can load."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wanworker.actions.base import Action, Context
from wanworker.actions.request.fields import Request, parse
from wanworker.errors import EngineUnavailable

if TYPE_CHECKING:
    from wanworker.engines.comfyui.engine import ComfyUI


class ModelsRequest(Request):
    """Take no fields."""


async def run(fields: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """
    Return the server's model lists, or those of the volume's folders while the server is offline; `source` says which.
    """
    _, warnings = parse(ModelsRequest, fields)
    engine = context.comfyui()
    lists, source = await _lists(engine)
    answer: dict[str, Any] = {
        "status": "success",
        "models": {folder: list(names) for folder, names in lists.items()},
        "source": source,
    }
    return answer | ({"warnings": warnings} if warnings else {})


async def _lists(engine: ComfyUI) -> tuple[Mapping[str, tuple[str, ...]], str]:
    if await engine.probe() == "online":
        try:
            return await engine.server_lists(), "server"
        except EngineUnavailable:
            pass
    return engine.lists.from_folders(), "folders"


ACTION = Action("comfyui_models", run)
