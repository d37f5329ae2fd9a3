"""What a real ComfyUI 0.10.0 said, recorded on a CPU with small random weights, and graphs that every server runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "data" / "comfyui"


def history(name: str) -> dict[str, Any]:
    """Return one recorded history entry."""
    (entry,) = json.loads((FOLDER / f"history_{name}.json").read_text()).values()
    return entry


def frames(name: str) -> list[str]:
    """Return the recorded text frames of one run, as they came."""
    return (FOLDER / f"ws_{name}.jsonl").read_text().splitlines()


def refusals() -> dict[str, dict[str, Any]]:
    """Return the recorded answers to bad prompts by case: status and body."""
    return {case["case"]: case for case in json.loads((FOLDER / "refusals.json").read_text())}


def video_graph(*, color: int = 255, prefix: str = "video/clip") -> dict[str, Any]:
    """Return a graph of core nodes that saves an mp4 and needs no weights; another *color* is not in the cache."""
    return {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 4, "color": color}},
        "2": {"class_type": "CreateVideo", "inputs": {"images": ["1", 0], "fps": 16.0}},
        "3": {
            "class_type": "SaveVideo",
            "inputs": {"video": ["2", 0], "filename_prefix": prefix, "format": "auto", "codec": "auto"},
        },
    }


def slow_graph(*, nodes: int = 60, color: int = 255) -> dict[str, Any]:
    """Return a graph that works for seconds on a real server, many short nodes long, and needs no weights."""
    graph: dict[str, Any] = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 2048, "height": 2048, "batch_size": 1, "color": color}}
    }
    for number in range(2, nodes):
        scale = {"upscale_method": "lanczos", "width": 2048 + number, "height": 2048, "crop": "disabled"}
        graph[str(number)] = {"class_type": "ImageScale", "inputs": {"image": [str(number - 1), 0], **scale}}
    last = {"images": [str(nodes - 1), 0], "filename_prefix": "slow"}
    return {**graph, str(nodes): {"class_type": "SaveImage", "inputs": last}}


def i2v_graph() -> dict[str, Any]:
    """Return the two-expert image-to-video graph that was recorded."""
    graph: dict[str, Any] = history("success_i2v_lora4")["prompt"][2]
    return graph
