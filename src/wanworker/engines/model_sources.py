"""Keep what is known of the models below the models folders, once for all cards and requests of this process."""

from __future__ import annotations

import functools
from pathlib import Path

from wanworker.models.sources.discover import Sources
from wanworker.settings import Settings

#: A worker has one set of folders. More of them are only in a process that builds several workers.
_SETS = 8


def sources_of(settings: Settings) -> Sources:
    """
    Return what knows the models below the models folders, in every layout.

    All who ask with the same folders share it, so that each header is read once. It looks at the files whenever it is
    asked, so new and changed ones are seen.
    """
    return _sources(settings.model_dirs, settings.comfyui_root)


@functools.lru_cache(maxsize=_SETS)
def _sources(places: tuple[Path, ...], comfyui_root: Path | None) -> Sources:
    return Sources(places, functools.partial(_single_file_folders, places, comfyui_root))


def _single_file_folders(places: tuple[Path, ...], comfyui_root: Path | None, kind: str) -> list[Path]:
    """Return the folders of ComfyUI's files of this kind, below all models folders, in every layout."""
    from wanworker.comfyui.server.model_paths import MODEL_FOLDERS, models_folders  # not at the worker's start

    own = (comfyui_root / "models",) if comfyui_root else ()
    return [root / part for root in models_folders((*own, *places)) for part in MODEL_FOLDERS[kind]]
