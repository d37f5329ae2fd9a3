"""Checkpoints: written beside and renamed, so that a run that was killed goes on where it was."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch

log = logging.getLogger(__name__)

#: A run writes its state once in so many steps.
EVERY_STEPS = 250


def save(path: Path, state: dict[str, Any]) -> None:
    """Write *state* so that *path* always holds a whole checkpoint."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    torch.save(state, beside)
    beside.replace(path)


def load(path: Path) -> dict[str, Any] | None:
    """Return the state in *path*, None where there is none."""
    if not path.exists():
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    log.info("resuming from %s at step %s", path.name, state.get("step"))
    return state
