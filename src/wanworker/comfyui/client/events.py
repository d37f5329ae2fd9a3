"""
Parse one websocket frame of a ComfyUI server. Pure; an unreadable frame gives None.

The shapes were recorded from ComfyUI 0.3.64 and 0.10.0 (text) and read in its protocol.py (binary). Types and event
numbers that custom node packs add give None too.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

#: Binary event numbers (ComfyUI protocol.py): an image, and an image with metadata in front.
_PREVIEW_IMAGE, _PREVIEW_WITH_METADATA = 1, 4
_PREVIEW_MIME = {1: "image/jpeg", 2: "image/png"}


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """Say how many prompts of any client wait or run."""

    remaining: int


@dataclass(frozen=True, slots=True)
class Started:
    """A prompt has left the queue and runs."""

    prompt_id: str


@dataclass(frozen=True, slots=True)
class Cached:
    """These nodes of the prompt do not run, because the server's cache has their results from an earlier prompt."""

    prompt_id: str
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Executing:
    """
    A node begins. If `node` is None, the prompt has ended, well or not.

    `prompt_id` is None in the event that greets a socket which reconnects during a run. `display_node` is the node of
    the graph that was sent, if `node` was made at run time ("7.0.0.1").
    """

    node: str | None
    prompt_id: str | None
    display_node: str | None = None


@dataclass(frozen=True, slots=True)
class Stepped:
    """A node reports that it has done step `value` of `steps`."""

    prompt_id: str | None
    node: str | None
    value: float
    steps: float


@dataclass(frozen=True, slots=True)
class NodeState:
    """Say where one node is: `state` is pending, running, finished or error; `value` of `steps` are done."""

    node: str
    display_node: str
    state: str
    value: float
    steps: float


@dataclass(frozen=True, slots=True)
class NodeStates:
    """Hold all nodes of a prompt that have begun so far. A new message replaces the one before."""

    prompt_id: str
    nodes: tuple[NodeState, ...]


@dataclass(frozen=True, slots=True)
class Executed:
    """An output node is done. `output` is what it shows, as in the history, or empty."""

    prompt_id: str
    node: str
    output: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Succeeded:
    """A prompt ended well. Its history entry may come some milliseconds later."""

    prompt_id: str


@dataclass(frozen=True, slots=True)
class Failed:
    """
    A node raised an exception.

    If `exception_type` is "ExecutionBlocked", the prompt goes on; only the history says how it ended.
    """

    prompt_id: str
    node: str
    exception_type: str
    message: str


@dataclass(frozen=True, slots=True)
class Interrupted:
    """A prompt was interrupted in this node."""

    prompt_id: str
    node: str


@dataclass(frozen=True, slots=True)
class Preview:
    """Hold a latent preview: an image file in `image`. Only servers that send metadata name the node and the prompt."""

    image: bytes
    mime: str
    node: str | None = None
    prompt_id: str | None = None


Event = (
    QueueStatus | Started | Cached | Executing | Stepped | NodeStates | Executed | Succeeded | Failed | Interrupted
    | Preview
)  # fmt: skip


def parse_frame(frame: str | bytes) -> Event | None:
    """Read one websocket frame, text or binary. Never raises. Returns None for an unknown or broken frame."""
    try:
        return _parse_text(frame) if isinstance(frame, str) else _parse_binary(frame)
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, struct.error, RecursionError):
        return None


def _parse_text(frame: str) -> Event | None:
    message = json.loads(frame)
    if not isinstance(message, dict) or not isinstance(message.get("data"), dict):
        return None
    reader = _READERS.get(message.get("type", ""))
    return reader(message["data"]) if reader else None


def _parse_binary(frame: bytes) -> Event | None:
    kind, length = struct.unpack_from(">II", frame)
    if kind == _PREVIEW_IMAGE and length in _PREVIEW_MIME:
        return Preview(frame[8:], _PREVIEW_MIME[length]) if len(frame) > 8 else None
    if kind == _PREVIEW_WITH_METADATA and len(frame) > 8 + length:
        about = json.loads(frame[8 : 8 + length])
        mime = about.get("image_type")
        image = frame[8 + length :]
        return Preview(image, _text(mime), _name(about, "display_node_id"), _name(about, "prompt_id"))
    return None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _name(data: Mapping[str, Any], key: str) -> str | None:
    value = data.get(key)
    return str(value) if isinstance(value, str | int) else None


def _number(value: object) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError("not a number")
    return value


def _status(data: Mapping[str, Any]) -> QueueStatus:
    remaining = data["status"]["exec_info"]["queue_remaining"]
    return QueueStatus(int(_number(remaining)))


def _executing(data: Mapping[str, Any]) -> Executing:
    node = data["node"]
    return Executing(None if node is None else str(node), _name(data, "prompt_id"), _name(data, "display_node"))


def _executed(data: Mapping[str, Any]) -> Executed:
    output = data.get("output")
    # A cached output node without any output sends null.
    return Executed(_text(data["prompt_id"]), str(data["node"]), output if isinstance(output, dict) else {})


def _failed(data: Mapping[str, Any]) -> Failed:
    node, kind, message = (str(data.get(key, "")) for key in ("node_id", "exception_type", "exception_message"))
    return Failed(_text(data["prompt_id"]), node, kind, message)


def _node_states(data: Mapping[str, Any]) -> NodeStates:
    nodes = tuple(_node_state(str(node), state) for node, state in data["nodes"].items())
    return NodeStates(_text(data["prompt_id"]), nodes)


def _node_state(node: str, state: Mapping[str, Any]) -> NodeState:
    display_node = _name(state, "display_node_id") or node
    return NodeState(node, display_node, _text(state["state"]), _number(state["value"]), _number(state["max"]))


_READERS: Mapping[object, Callable[[Mapping[str, Any]], Event]] = {
    "status": _status,
    "execution_start": lambda data: Started(_text(data["prompt_id"])),
    "execution_cached": lambda data: Cached(_text(data["prompt_id"]), tuple(map(str, data["nodes"]))),
    "executing": _executing,
    "progress": lambda data: Stepped(
        _name(data, "prompt_id"), _name(data, "node"), _number(data["value"]), _number(data["max"])
    ),
    "progress_state": _node_states,
    "executed": _executed,
    "execution_success": lambda data: Succeeded(_text(data["prompt_id"])),
    "execution_error": _failed,
    "execution_interrupted": lambda data: Interrupted(_text(data["prompt_id"]), str(data.get("node_id", ""))),
}
