"""
What a job may ask for. To add an action: one module that defines ACTION, one row here, one test.

docs/adding-an-action.md walks through it. The order of the table decides what a job without an action means.
"""

from __future__ import annotations

from wanworker.actions import health, status
from wanworker.actions.base import Action
from wanworker.actions.comfyui import i2v, models, workflow
from wanworker.actions.generate import action

ACTIONS: tuple[Action, ...] = (
    workflow.ACTION,
    health.ACTION,
    status.ACTION,
    action.ACTION,
    i2v.ACTION,
    models.ACTION,
)
