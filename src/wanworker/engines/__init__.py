"""
What can make a video, in the order in which `auto` asks. To add an engine: one module, one row, one test.

docs/adding-an-engine.md walks through it.
"""

from __future__ import annotations

from wanworker.engines import comfyui, diffusers, mini, wan_cli
from wanworker.engines.base import EngineRow

ENGINES: tuple[EngineRow, ...] = (
    EngineRow("diffusers", diffusers.CAPABILITIES, diffusers.DiffusersEngine),
    EngineRow("comfyui", comfyui.CAPABILITIES, comfyui.ComfyUI),
    EngineRow("wan_cli", wan_cli.CAPABILITIES, wan_cli.WanCli.from_settings),
    EngineRow("mini", mini.CAPABILITIES, mini.MiniEngine),
)
