"""
What a job may ask for. To add an action: one module that defines ACTION, one row here, one test.

docs/adding-an-action.md walks through it. The order of the table decides what a job without an action means.
"""

from __future__ import annotations

from wanworker.actions import comfyui_i2v, comfyui_models, comfyui_workflow, generate, health, status
from wanworker.actions.base import Action

ACTIONS: tuple[Action, ...] = (
    comfyui_workflow.ACTION,
    health.ACTION,
    status.ACTION,
    generate.ACTION,
    comfyui_i2v.ACTION,
    comfyui_models.ACTION,
)
