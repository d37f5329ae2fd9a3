"""Read the JSON files of a weights folder: configurations, and the index that lists the files of a split component."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def json_object(path: Path) -> Mapping[str, Any]:
    """Return the object in a JSON file, or an empty one if it cannot be read."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def weight_files(folder: Path, stem: str) -> list[str]:
    """Return the files that should hold the weights: those that the index names, else the one called *stem*."""
    named = json_object(folder / f"{stem}.safetensors.index.json").get("weight_map")
    return sorted(set(named.values())) if isinstance(named, dict) and named else [f"{stem}.safetensors"]
