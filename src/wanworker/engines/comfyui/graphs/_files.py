"""Read our graphs from workflows/."""

from __future__ import annotations

import json
from pathlib import Path

from wanworker.comfyui.graph.api_format import Graph, read_graph

#: The checkout's own folder: the image and a laptop both run from a checkout.
FOLDER = Path(__file__).resolve().parents[5] / "workflows"


def read_workflows(folder: Path = FOLDER) -> dict[str, Graph]:
    """Return every graph of *folder* by the name of its file. Raises GraphRefused, OSError, ValueError."""
    return {
        path.stem: read_graph(json.loads(path.read_text(encoding="utf-8"))) for path in sorted(folder.glob("*.json"))
    }
