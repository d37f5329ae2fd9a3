"""Small graphs in API format for the fake and a real server: one saver, several savers, a sampler in between."""

from __future__ import annotations

from typing import Any

Graph = dict[str, Any]


def picture(*, color: int = 255) -> Graph:
    """Return the one node that the others begin with."""
    size = {"width": 64, "height": 64, "batch_size": 4, "color": color}
    return {"1": {"class_type": "EmptyImage", "inputs": size}}


def saving(class_type: str, *, prefix: str = "ComfyUI", color: int = 255) -> Graph:
    """Return a graph whose one output node is a *class_type*."""
    own: dict[str, dict[str, Any]] = {
        "SaveVideo": {"video": ["2", 0], "format": "auto", "codec": "auto"},
        "SaveWEBM": {"images": ["1", 0], "codec": "vp9", "fps": 16.0, "crf": 32.0},
        "SaveAnimatedWEBP": {
            "images": ["1", 0], "fps": 16.0, "lossless": True, "quality": 80, "method": "default",
        },
        "SaveImage": {"images": ["1", 0]},
        "SaveAudio": {"audio": ["2", 0]},
        "SaveAudioMP3": {"audio": ["2", 0], "quality": "V0"},
    }  # fmt: skip
    if class_type == "TestGifs":
        return {"9": {"class_type": "TestGifs", "inputs": {"seed": color}}}
    between: Graph = {}
    if class_type == "SaveVideo":
        between = {"2": {"class_type": "CreateVideo", "inputs": {"images": ["1", 0], "fps": 16.0}}}
    if class_type in {"SaveAudio", "SaveAudioMP3"}:
        empty = {"duration": 0.5, "sample_rate": 44100, "channels": 2}
        between = {"2": {"class_type": "EmptyAudio", "inputs": empty}}
    saver = {"class_type": class_type, "inputs": {**own[class_type], "filename_prefix": prefix}}
    return {**picture(color=color), **between, "9": saver}


def several() -> Graph:
    """Return a graph with a picture, a video in a subfolder, a sound and a VHS-like file, in this order."""
    graph = saving("SaveVideo", prefix="video/deep/clip")
    graph["3"] = graph.pop("9")
    empty = {"duration": 0.5, "sample_rate": 44100, "channels": 2}
    return {
        "1": graph["1"],
        "5": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "still"}},
        "2": graph["2"],
        "3": graph["3"],
        "6": {"class_type": "EmptyAudio", "inputs": empty},
        "7": {"class_type": "SaveAudio", "inputs": {"audio": ["6", 0], "filename_prefix": "audio/tone"}},
        "8": {"class_type": "TestGifs", "inputs": {"seed": 3}},
    }


def reading(class_type: str, name: str, value: str) -> Graph:
    """Return a graph whose loader *class_type* has *value* as its input *name*, and saves a picture."""
    graph = saving("SaveImage")
    if class_type == "LoadImage":
        graph["9"]["inputs"]["images"] = ["4", 0]
        return {"4": {"class_type": class_type, "inputs": {name: value}}, "9": graph["9"]}
    if class_type == "LoadAudio":
        saver = {"class_type": "SaveAudio", "inputs": {"audio": ["4", 0], "filename_prefix": "a"}}
    elif class_type == "VHS_LoadVideo":
        saver = {"class_type": "SaveImage", "inputs": {"images": ["4", 0], "filename_prefix": "v"}}
    else:
        video = {"video": ["4", 0], "filename_prefix": "v", "format": "auto", "codec": "auto"}
        saver = {"class_type": "SaveVideo", "inputs": video}
    return {"4": {"class_type": class_type, "inputs": {name: value}}, "9": saver}
