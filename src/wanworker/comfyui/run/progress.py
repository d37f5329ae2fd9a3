"""
Fold the events of the nodes into one fraction that never falls. Pure: time is an argument.

A node's weight depends on its class: a sampler counts by its steps; a loader, a text encoder, a decoder and a saver
have a fixed share in steps. Cached nodes weigh nothing. Counting messages would not do, because lazy nodes begin twice
and two samplers each count from one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from wanworker.comfyui.client.events import Cached, Event, Executed, Executing, NodeState, NodeStates, Stepped
from wanworker.comfyui.graph.api_format import inputs_of
from wanworker.progress import Progress

#: (stage, class names, weight in sampler steps). The first that fits is used. The weights are rough shares of a 20-step
#: render: loading 28 GB of experts takes about two steps each, decoding about two, encoding a text half of one.
_STAGES: tuple[tuple[str, re.Pattern[str], float], ...] = (
    ("sampling", re.compile(r"Sampler(Advanced|Custom(Advanced)?)?$"), 20.0),
    ("loading", re.compile(r"Loader"), 2.0),
    ("encoding text", re.compile(r"TextEncode|TextEmbed"), 0.5),
    ("decoding", re.compile(r"VAEDecode|Decode$"), 2.0),
    ("saving", re.compile(r"^Save|^Preview|VideoCombine|CreateVideo"), 0.5),
    ("upscaling", re.compile(r"UpscaleWithModel$"), 10.0),
    ("interpolating", re.compile(r"^FrameInterpolate$"), 5.0),
    ("encoding", re.compile(r"ImageToVideo|Animate2?ToVideo|VaceToVideo|VAEEncode|VisionEncode"), 1.0),
)
_OTHER = ("preparing", 0.1)

#: ComfyUI's own limit. A sampler of a node pack may have none, and a caller's number may have hundreds of digits.
_MOST_STEPS = 10_000

#: The fraction stays below 1 until the file is verified.
_MOST = 0.99


@dataclass(slots=True)
class _Part:
    """Hold one node of the graph: its stage, its weight, and how much of it is done."""

    stage: str
    weight: float
    steps: int | None
    done: float = 0.0
    step: int = 0


class RunProgress:
    """Fold the events of one prompt of *graph*. *clock* gives seconds."""

    def __init__(self, graph: Mapping[str, Mapping[str, Any]], *, clock: Callable[[], float]) -> None:
        self._parts = {node: _part(body) for node, body in graph.items()}
        self._clock = clock
        self._current: str | None = None
        self._fraction = 0.0
        self._pace: tuple[float, float] | None = None

    def hear(self, event: Event) -> Progress | None:
        """Take one event. Return the progress if it may have changed, else None."""
        if isinstance(event, Cached):
            self._parts = {node: part for node, part in self._parts.items() if node not in event.nodes}
        elif isinstance(event, Executing) and event.node is not None:
            self._begin(event.display_node or event.node)
        elif isinstance(event, Stepped) and event.node is not None:
            self._advance(event.node, event.value, event.steps)
        elif isinstance(event, NodeStates):
            for state in event.nodes:
                self._take(state)
        elif isinstance(event, Executed):
            self._advance(event.node, 1, 1)
        else:
            return None
        return self._now()

    def _begin(self, node: str) -> None:
        if node in self._parts:
            self._current = node

    def _take(self, state: NodeState) -> None:
        # A node made at run time ("7.0.0.1") does not count: it belongs to the node that made it.
        if state.node in self._parts and state.state == "finished":
            self._finish(state.node)
        elif state.node in self._parts and state.state == "running" and state.steps > 1:
            self._advance(state.node, state.value, state.steps)

    def _advance(self, node: str, value: float, steps: float) -> None:
        part = self._parts.get(node)
        if part is None or steps <= 0:
            return
        self._begin(node)
        part.done = max(part.done, min(1.0, value / steps))
        if part.stage == "sampling" and steps > 1:
            part.step, part.steps = max(part.step, int(value)), int(steps)
            self._pace = self._pace or (self._clock(), self._share())

    def _finish(self, node: str) -> None:
        part = self._parts[node]
        part.done, part.step = 1.0, part.steps or 0

    def _share(self) -> float:
        whole = sum(part.weight for part in self._parts.values())
        return sum(part.weight * part.done for part in self._parts.values()) / whole if whole else 0.0

    def _now(self) -> Progress:
        self._fraction = min(_MOST, max(self._fraction, self._share()))
        part = self._parts.get(self._current or "")
        stage = part.stage if part else "preparing"
        step, steps = self._steps() if stage == "sampling" else (None, None)
        return Progress(stage, self._fraction, step, steps, self._eta_s())

    def _steps(self) -> tuple[int | None, int | None]:
        """Return the step and the steps of all samplers together, because the two experts are one denoising run."""
        samplers = [part for part in self._parts.values() if part.stage == "sampling"]
        known = [part.steps for part in samplers if part.steps]
        return (sum(part.step for part in samplers), sum(known)) if len(known) == len(samplers) else (None, None)

    def _eta_s(self) -> float | None:
        """Extrapolate from the pace since the first step, because loading says nothing about the pace of sampling."""
        if self._pace is None:
            return None
        since, share = self._pace
        moved = self._share() - share
        return (self._clock() - since) * (1.0 - self._share()) / moved if moved > 0 else None


def _part(body: Mapping[str, Any]) -> _Part:
    class_type = str(body.get("class_type", ""))
    stage, weight = next(((name, weight) for name, words, weight in _STAGES if words.search(class_type)), _OTHER)
    steps = _planned_steps(inputs_of(body)) if stage == "sampling" else None
    return _Part(stage, float(steps or weight), steps)


def _planned_steps(inputs: Mapping[str, Any]) -> int | None:
    """
    Return the steps that a sampler will make, or None if a link decides. KSamplerAdvanced makes only a part of them.
    """
    steps = inputs.get("steps")
    first, last = inputs.get("start_at_step", 0), inputs.get("end_at_step", steps)
    if not (isinstance(steps, int) and isinstance(first, int) and isinstance(last, int)):
        return None
    return min(_MOST_STEPS, max(1, min(steps, last) - first))
