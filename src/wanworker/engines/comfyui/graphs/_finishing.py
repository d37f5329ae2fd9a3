"""Add to a graph what enlarges its frames and makes more of them, where the server has the models for it. Pure."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Mapping, Sequence

from wanworker.comfyui.graph.api_format import Graph, inputs_of
from wanworker.engines.comfyui.graphs._seedvr2 import SEEDVR2, with_part
from wanworker.engines.comfyui.graphs._wiring import next_id, node_titled
from wanworker.engines.comfyui.graphs.choice.models import Finder
from wanworker.spec import RenderSpec

#: The node that takes the finished frames, in every graph.
MAKER = "Make the video"

UPSCALERS, INTERPOLATORS = "upscale_models", "frame_interpolation"

#: The most that FrameInterpolate makes of one frame, and the most frames per second that CreateVideo takes.
_MOST_TIMES, _MOST_FPS = 16, 120

_NEARLY = 1e-6

#: FILM first, which ComfyUI's own template takes; then RIFE.
_KINDS = ("film", "rife")


def with_finish(
    graph: Graph, spec: RenderSpec, frames: int, finder: Finder, graphs: Mapping[str, Graph], warnings: list[str]
) -> Graph:
    """
    Return the graph of a clip of *frames* frames with the upscaling and the interpolation of *spec* before its end.

    *graphs* are those of workflows/ by name. What the server has no model for is left to ffmpeg. Raises ModelNotFound
    for an upscale model that is not there.
    """
    graph = _enlarged(graph, spec, finder, graphs, warnings)
    fps = inputs_of(graph[node_titled(graph, MAKER)])["fps"]
    if spec.target_fps is None or not isinstance(fps, int | float) or spec.target_fps <= fps:
        return graph
    models = sorted(finder.files(INTERPOLATORS), key=_rank)
    times = times_for(fps, spec.target_fps)
    if models and times > 1:
        graph = _interpolated(graph, models[0], frames, times)
        graph[node_titled(graph, MAKER)]["inputs"]["fps"] = float(fps * times)
        warnings.append(f"target_fps: {times} frames were made of each one by {models[0]}.")
    return graph


def times_for(fps: float, target_fps: float) -> int:
    """
    Return how many frames the model makes of one, so that those of *target_fps* are among them.

    If that takes more than twice as many as the target has, there are only twice as many, and the nearest are used.
    """
    least = math.ceil(target_fps / fps - _NEARLY)
    most = min(_MOST_TIMES, 2 * least, int(_MOST_FPS / fps))
    exact = (times for times in range(least, most + 1) if _is_whole(fps * times / target_fps))
    return next(exact, most)


def _is_whole(number: float) -> bool:
    return abs(number - round(number)) < _NEARLY


def _enlarged(
    graph: Graph, spec: RenderSpec, finder: Finder, graphs: Mapping[str, Graph], warnings: list[str]
) -> Graph:
    """Return the graph with the model that enlarges its frames. An upscale model is taken before SeedVR2."""
    name = spec.upscale_model
    if name is None and spec.upscale_factor is None:
        return graph
    if name is not None and not SEEDVR2.is_meant(name):
        model = finder.named(UPSCALERS, name)
    elif name is None and (files := finder.files(UPSCALERS)):
        model = _of_factor(files, spec.upscale_factor)
    elif name is not None or SEEDVR2.is_there(finder):
        return _rendered_larger(graph, spec, finder, graphs, warnings)
    else:
        return graph
    warnings.append(f"upscale: the frames were enlarged by {model}.")
    return _upscaled(graph, model, spec)


def _of_factor(files: Sequence[str], factor: int | None) -> str:
    own = re.compile(rf"(?<!\d){factor}x|x{factor}(?!\d)", re.IGNORECASE)
    return min(files, key=lambda name: (own.search(name) is None, name.lower()))


def _rendered_larger(
    graph: Graph, spec: RenderSpec, finder: Finder, graphs: Mapping[str, Graph], warnings: list[str]
) -> Graph:
    files = SEEDVR2.files(finder, spec.upscale_model)
    factor = spec.upscale_factor or SEEDVR2.factor
    graph, larger = _resized(graph, spec, factor, _frames(graph))
    graph, last = with_part(graph, SEEDVR2, graphs[SEEDVR2.name], larger, {**files, "seed": spec.seed})
    warnings.append(f"upscale: the frames were rendered {factor} times as wide and high by {files['model']}.")
    return _made_of(graph, last)


def _rank(name: str) -> tuple[int, str]:
    lower = name.lower()
    return next((rank for rank, kind in enumerate(_KINDS) if kind in lower), len(_KINDS)), lower


def _upscaled(graph: Graph, model: str, spec: RenderSpec) -> Graph:
    loader = {"class_type": "UpscaleModelLoader", "inputs": {"model_name": model}}
    graph, source = _with_node(graph, "Upscale model", loader)
    enlarge = {"class_type": "ImageUpscaleWithModel", "inputs": {"upscale_model": [source, 0], "image": _frames(graph)}}
    graph, last = _with_node(graph, "Enlarge the frames", enlarge)
    if spec.upscale_factor is not None:  # a model has a factor of its own
        graph, last = _resized(graph, spec, spec.upscale_factor, [last, 0])
    return _made_of(graph, last)


def _resized(graph: Graph, spec: RenderSpec, factor: int, frames: Sequence[object]) -> tuple[Graph, str]:
    sides = {"width": spec.size.width * factor, "height": spec.size.height * factor}
    exact = {"upscale_method": "lanczos", "crop": "disabled", **sides, "image": frames}
    return _with_node(graph, "Exact size", {"class_type": "ImageScale", "inputs": exact})


def _interpolated(graph: Graph, model: str, frames: int, times: int) -> Graph:
    """Return the graph with *times* frames for each one. The last is held for its own time, so that no time is lost."""
    loader = {"class_type": "FrameInterpolationModelLoader", "inputs": {"model_name": model}}
    graph, source = _with_node(graph, "Interpolation model", loader)
    inputs = {"interp_model": [source, 0], "images": _frames(graph), "multiplier": times}
    graph, between = _with_node(graph, "Frames between", {"class_type": "FrameInterpolate", "inputs": inputs})
    last = {"image": [between, 0], "batch_index": (frames - 1) * times, "length": 1}
    graph, last_one = _with_node(graph, "Last frame of the clip", {"class_type": "ImageFromBatch", "inputs": last})
    repeat = {"image": [last_one, 0], "amount": times - 1}
    graph, held = _with_node(graph, "Last frame held", {"class_type": "RepeatImageBatch", "inputs": repeat})
    both = {"image1": [between, 0], "image2": [held, 0]}
    graph, whole = _with_node(graph, "Whole clip", {"class_type": "ImageBatch", "inputs": both})
    return _made_of(graph, whole)


def _frames(graph: Graph) -> Sequence[object]:
    frames: Sequence[object] = inputs_of(graph[node_titled(graph, MAKER)])["images"]
    return frames


def _with_node(graph: Graph, title: str, body: Mapping[str, object]) -> tuple[Graph, str]:
    node = next_id(graph)
    return {**copy.deepcopy(graph), node: {**body, "_meta": {"title": title}}}, node


def _made_of(graph: Graph, frames: str) -> Graph:
    changed = copy.deepcopy(graph)
    changed[node_titled(graph, MAKER)]["inputs"]["images"] = [frames, 0]
    return changed
