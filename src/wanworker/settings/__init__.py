"""Hold every setting of the worker. No other package reads the environment."""

from wanworker.settings._engines import Card
from wanworker.settings._worker import (
    BadSettings,
    EngineName,
    Settings,
    child_environment,
    in_runpod_worker,
    load_settings,
)

__all__ = [
    "BadSettings",
    "Card",
    "EngineName",
    "Settings",
    "child_environment",
    "in_runpod_worker",
    "load_settings",
]
