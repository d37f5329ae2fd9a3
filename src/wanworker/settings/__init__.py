"""Hold every setting of the worker. No other package reads the environment."""

from wanworker.settings._engines import Card
from wanworker.settings._runpod import SharedVolume, WeightedEndpoint
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
    "SharedVolume",
    "WeightedEndpoint",
    "child_environment",
    "in_runpod_worker",
    "load_settings",
]
