"""
The parsers of other people's bytes as targets for Hypothesis: real files, torn, and documents built of odd values.

A target is a strategy, a function, and the errors that the function may raise in our own words. Any other exception,
and anything that takes longer than SLOWEST_S, is a find.
"""

from __future__ import annotations

import base64
import functools
import json
import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from fakes.clips import clip, with_sound
from wanworker.comfyui.client.events import parse_frame
from wanworker.comfyui.graph.api_format import inputs_of, links, orphans, output_nodes, read_graph
from wanworker.comfyui.graph.object_info import ObjectInfo
from wanworker.comfyui.graph.preflight import check
from wanworker.comfyui.ui_workflow.convert import api_graph, node_classes
from wanworker.errors import WorkerError
from wanworker.media.inputs.data_uri import decode
from wanworker.media.video.mp4 import existing_size, facts, looks_like_mp4
from wanworker.models.files.safetensors import BrokenSafetensors, check_header, read_header

SLOWEST_S = 2.0


@dataclass(frozen=True, slots=True)
class Target:
    """One parser under fire."""

    strategy: st.SearchStrategy[Any]
    feed: Callable[[Any], object]
    refuses_with: tuple[type[Exception], ...] = (WorkerError,)


@st.composite
def torn(draw: st.DrawFn, whole: bytes) -> bytes:
    """Return *whole* with some bytes and 32-bit words overwritten, a piece doubled or left out, an end cut off."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, max(0, len(data) - 4)))
        match draw(st.sampled_from(["byte", "word", "double", "drop", "cut"])):
            case "byte":
                data[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case "word":
                data[at : at + 4] = struct.pack(">I", draw(st.sampled_from([0, 1, 7, 8, 2**16, 2**31, 2**32 - 1])))
            case "double":
                data[at:at] = data[at : at + draw(st.integers(1, 64))]
            case "drop":
                del data[at : at + draw(st.integers(1, 64))]
            case "cut":
                del data[at:]
    return bytes(data)


_ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=8), st.sampled_from(["1", 0])
)
_JSON = st.recursive(
    _ODD, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=6), inner, max_size=4))
)


def _or_odd(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(strategy, strategy, strategy, _JSON)


_NODE_ID = st.sampled_from(["1", "2", "3", "4", "1:2", "x", ""])
_CLASS = st.sampled_from(["LoadImage", "KSampler", "SaveVideo", "Note", "Reroute", "nobody"])
_INPUTS = st.dictionaries(
    st.sampled_from(["image", "steps", "images", "value", "seed", "model", "filename_prefix"]),
    _or_odd(st.tuples(_NODE_ID, st.integers(-1, 3)).map(list)),
    max_size=4,
)
_GRAPH = st.dictionaries(
    _NODE_ID,
    _or_odd(st.fixed_dictionaries({"class_type": _or_odd(_CLASS), "inputs": _or_odd(_INPUTS)},
                                  optional={"_meta": _or_odd(st.fixed_dictionaries({"title": _ODD}))})),
    max_size=5,
)  # fmt: skip

_NUMBER = st.integers(-1, 6)
_SLOT = st.fixed_dictionaries(
    {
        "name": _or_odd(st.sampled_from(["image", "steps", "value"])),
        "type": _or_odd(st.sampled_from(["INT", "*", "MODEL"])),
    },
    optional={"link": _or_odd(_NUMBER), "links": _or_odd(st.lists(_NUMBER, max_size=3)), "widget": _JSON},
)
_UI_NODE = st.fixed_dictionaries(
    {
        "id": _or_odd(_NUMBER),
        "type": _or_odd(st.one_of(_CLASS, st.sampled_from(["PrimitiveNode", "SetNode", "GetNode", "sub"]))),
    },
    optional={
        "mode": _or_odd(st.sampled_from([0, 2, 4])),
        "inputs": _or_odd(st.lists(_or_odd(_SLOT), max_size=3)),
        "outputs": _or_odd(st.lists(_or_odd(_SLOT), max_size=3)),
        "widgets_values": _or_odd(st.lists(_ODD, max_size=4)),
        "properties": _JSON,
    },
)
_LINK = st.one_of(
    st.tuples(_NUMBER, _NUMBER, _NUMBER, _NUMBER, _NUMBER, st.just("INT")).map(list),
    st.fixed_dictionaries(
        {"id": _NUMBER, "origin_id": _NUMBER, "origin_slot": _NUMBER, "target_id": _NUMBER, "target_slot": _NUMBER}
    ),
)
_FLAT = {
    "nodes": _or_odd(st.lists(_or_odd(_UI_NODE), max_size=5)),
    "links": _or_odd(st.lists(_or_odd(_LINK), max_size=6)),
}
_SUBGRAPH = st.fixed_dictionaries(
    {
        "id": st.just("sub"),
        **_FLAT,
        "inputs": _or_odd(st.lists(_SLOT, max_size=2)),
        "outputs": _or_odd(st.lists(_SLOT, max_size=2)),
    }
)
_WORKFLOW = st.fixed_dictionaries(
    _FLAT,
    optional={"definitions": _or_odd(st.fixed_dictionaries({"subgraphs": _or_odd(st.lists(_SUBGRAPH, max_size=2))}))},
)

NOW = datetime(2026, 11, 29, 3, 4, 5)
INFO: ObjectInfo = {
    "LoadImage": {"input": {"required": {"image": [["in.png"]]}}, "output": ["IMAGE"], "output_node": False},
    "KSampler": {
        "input": {"required": {"model": ["MODEL"], "steps": ["INT", {"default": 20, "min": 1, "max": 100}]}},
        "output": ["IMAGE"],
        "output_node": False,
    },
    "SaveVideo": {
        "input": {"required": {"images": ["IMAGE"], "filename_prefix": ["STRING", {"default": "a"}]}},
        "output": [],
        "output_node": True,
    },
}


def _graph(document: Any) -> None:
    graph = read_graph(document)
    for node in graph.values():
        inputs_of(node)
    list(links(graph))
    output_nodes(graph, INFO)
    orphans(graph, INFO)
    check(graph, INFO)


def _workflow(document: Any) -> None:
    node_classes(document)
    api_graph(document, INFO, now=NOW)


def _file(read: Callable[[Path], object], ending: str) -> Callable[[bytes], None]:
    def feed(data: bytes) -> None:
        with tempfile.NamedTemporaryFile(suffix=ending) as file:
            file.write(data)
            file.flush()
            read(Path(file.name))

    return feed


def _mp4(path: Path) -> None:
    looks_like_mp4(path)
    existing_size(path)
    facts(path)


def _safetensors(path: Path) -> None:
    check_header(path)
    read_header(path)


@functools.cache
def _film() -> bytes:
    """Return a small film with sound: an index with two tracks."""
    with tempfile.TemporaryDirectory() as folder:
        silent = clip(Path(folder) / "silent.mp4")
        return with_sound(silent, Path(folder) / "film.mp4").read_bytes()


def _header(value: Any) -> bytes:
    text = json.dumps(value).encode()
    return struct.pack("<Q", len(text)) + text


_TENSOR = _or_odd(
    st.fixed_dictionaries({
        "dtype": _or_odd(st.sampled_from(["F32", "F8_E4M3", "I99"])),
        "shape": _or_odd(st.lists(st.integers(-1, 2**40), max_size=3)),
        "data_offsets": _or_odd(st.lists(st.integers(-1, 2**40), min_size=2, max_size=2)),
    })
)  # fmt: skip
_WHOLE_HEADER = _header({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}) + bytes(4)
_FRAME_TYPES = ("status", "executing", "executed", "progress", "progress_state", "execution_error", "execution_cached")
_FRAMES = st.one_of(
    st.fixed_dictionaries({"type": _or_odd(st.sampled_from(_FRAME_TYPES)), "data": _or_odd(_JSON)}).map(json.dumps),
    st.text(max_size=64),
    st.binary(max_size=64),
)
_DATA_URIS = st.one_of(
    st.text(max_size=64),
    st.binary(max_size=64).map(lambda data: "data:image/png;base64," + base64.b64encode(data).decode()),
    torn(b"data:image/png;base64,iVBORw0KGgo=").map(lambda data: data.decode("latin-1")),
)

TARGETS: dict[str, Target] = {
    "data URIs": Target(_DATA_URIS, lambda text: decode(text, max_bytes=10_000)),
    "graphs": Target(st.one_of(_GRAPH, _JSON), _graph),
    "browser workflows": Target(_WORKFLOW, _workflow),
    "websocket frames": Target(_FRAMES, parse_frame),
    "safetensors headers": Target(
        st.one_of(torn(_WHOLE_HEADER), st.dictionaries(st.text(max_size=4), _TENSOR, max_size=3).map(_header)),
        _file(_safetensors, ".safetensors"),
        (BrokenSafetensors,),
    ),
    "mp4 boxes": Target(st.deferred(lambda: torn(_film())), _file(_mp4, ".mp4")),
}
