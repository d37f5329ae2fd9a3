"""List every folder in which an engine looks for weights; health and doctor search them for damaged files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from wanworker.models.files.hub_cache import snapshots
from wanworker.models.hub.catalogue import PRESETS, Preset
from wanworker.settings import Settings


def weight_folders(settings: Settings) -> Iterator[Path]:
    """Return ComfyUI's folders in every layout, then those of the other engines. A folder need not exist."""
    # These imports are slow, so they are kept out of the start.
    from wanworker.comfyui.server.model_paths import MODEL_FOLDERS, models_folders
    from wanworker.engines.comfyui.weights import FOLDERS

    own = (settings.comfyui_root / "models",) if settings.comfyui_root else ()
    for root in models_folders((*own, *settings.model_dirs)):
        yield from (root / part for folder in FOLDERS for part in MODEL_FOLDERS[folder])
    for preset in PRESETS.values():
        yield from tree_folders(preset, settings)


def tree_folders(preset: Preset, settings: Settings) -> list[Path]:
    """Return where an engine finds the repository of *preset*: by its name, and in the hub's cache."""
    if preset.tree is None:
        return []
    below = [place / preset.tree.folder for place in settings.model_dirs]
    return [*below, *snapshots(settings.hub_cache_dirs, preset.tree.repository)]
