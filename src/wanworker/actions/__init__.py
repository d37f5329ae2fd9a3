"""
List what a job may ask for.

To add an action, write one module that defines ACTION, one row here and one test: see docs/adding-an-action.md. A job
that names no action means the first row whose `implied_by` fits.
"""

from __future__ import annotations

from wanworker.actions import health, status
from wanworker.actions.base import Action
from wanworker.actions.comfyui import i2v, models, workflow
from wanworker.actions.generate import action, plan

ACTIONS: tuple[Action, ...] = (
    workflow.ACTION,
    health.ACTION,
    status.ACTION,
    action.ACTION,
    plan.ACTION,
    i2v.ACTION,
    models.ACTION,
)
