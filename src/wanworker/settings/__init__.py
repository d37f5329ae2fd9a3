"""Every knob of the worker, read from the environment once: the only package that reads it."""

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
    "EngineName",
    "Settings",
    "child_environment",
    "in_runpod_worker",
    "load_settings",
]
