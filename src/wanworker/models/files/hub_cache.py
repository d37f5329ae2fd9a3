"""Find repositories in Hugging Face's cache, `models--ORG--NAME/snapshots/COMMIT`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def snapshots(places: Iterable[Path], repository: str) -> tuple[Path, ...]:
    """
    Return the snapshots of *repository* (`Wan-AI/Wan2.2-TI2V-5B`) below *places*, each place a cache's `hub` folder.

    The snapshot that `main` points at comes first, then the others by name. A snapshot holds links to blobs. An
    interrupted download lacks some of them, so a snapshot that exists need not be complete.
    """
    found: list[Path] = []
    for place in places:
        folder = place / f"models--{repository.replace('/', '--')}"
        current = _main_of(folder)
        known = sorted(path for path in (folder / "snapshots").glob("*") if path.is_dir())
        found += sorted(known, key=lambda path: path.name != current)
    return tuple(found)


def _main_of(folder: Path) -> str:
    try:
        return (folder / "refs" / "main").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
