"""
What can make a video, in the order in which `auto` asks. To add an engine: one module, one row, one test.

docs/adding-an-engine.md walks through it.
"""

from __future__ import annotations

import importlib
import operator
from collections.abc import Callable

from wanworker.engines import _capabilities
from wanworker.engines.base import Engine, EngineRow
from wanworker.settings import Settings


def built_by(module: str, name: str) -> Callable[[Settings], Engine]:
    """Return a builder that imports `engines.<module>` when it first builds, so that a start loads no unused engine."""

    def build(settings: Settings) -> Engine:
        engine: Engine = operator.attrgetter(name)(importlib.import_module(f"{__name__}.{module}"))(settings)
        return engine

    return build


ENGINES: tuple[EngineRow, ...] = (
    EngineRow("diffusers", _capabilities.DIFFUSERS, built_by("diffusers", "DiffusersEngine")),
    EngineRow(
        "comfyui",
        _capabilities.COMFYUI,
        built_by("comfyui.engine", "ComfyUI"),
        # A server that we do not start is one, and on whatever card its own user chose.
        has_one_place=lambda settings: settings.comfyui_url is not None or settings.comfyui_root is None,
    ),
    EngineRow("wan_cli", _capabilities.WAN_CLI, built_by("wan_cli.engine", "WanCli.from_settings")),
    EngineRow(
        "runpod",
        _capabilities.RUNPOD,
        built_by("runpod.engine", "RunPodEngine"),
        remote_slots=lambda settings: settings.runpod_concurrency if settings.runpod_endpoints else 0,
        has_one_place=lambda _settings: True,
    ),
    EngineRow("mini", _capabilities.MINI, built_by("mini", "MiniEngine")),
)
