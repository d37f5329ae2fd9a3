"""Describe the problems of a graph in messages for its author. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from wanworker.comfyui.graph.object_info import ObjectInfo, is_model_name, nearest
from wanworker.errors import GraphRefused, ModelNotFound

#: A longer value, for example a prompt, is cut. The reader knows it by its beginning.
_VALUE_CHARS = 80
_MOST_SHOWN = 8

#: Up to this many choices are all named. Of more, only those that are like the given value.
_FEW_CHOICES = 5

#: Usual nodes of the core that save, named in the message if a graph has none.
_SAVERS = ("SaveVideo", "SaveWEBM", "SaveAnimatedWEBP", "SaveImage", "SaveAudio", "VHS_VideoCombine")
SERVER_FOLDERS = "the model folders of the ComfyUI server"


@dataclass(frozen=True, slots=True)
class Problem:
    """
    Describe one fault of a graph.

    `text` says what is wrong. `node`, `class_type` and `input` are the place; each is empty if the fault has none.
    `choices` are the valid values if `value` is not one of them. `missing_model` marks a weight file that the server
    does not have.
    """

    text: str
    node: str = ""
    class_type: str = ""
    input: str = ""
    value: Any = None
    choices: Sequence[Any] = ()
    missing_model: bool = False

    def nearest(self) -> tuple[str, ...]:
        """
        Return the choices to name: all if there are few, else those like `value`. Slow, so call it only for what is
        shown.
        """
        few = len(self.choices) <= _FEW_CHOICES
        return tuple(map(str, self.choices)) if few else nearest(self.value, self.choices)

    def __str__(self) -> str:
        node = f"node {self.node} ({self.class_type})" if self.class_type else f"node {self.node}"
        place = ", ".join(filter(None, [node if self.node else "", f"input {self.input!r}" if self.input else ""]))
        near = ", ".join(repr(name) for name in self.nearest() if repr(name) not in self.text)
        near = f"; nearest: {near}" if near else ""
        return f"{place}: {self.text}{near}" if place else f"{self.text}{near}"


def shown(value: object) -> str:
    """Write a value for a message: text in single quotes, all else as JSON; cut after 80 characters."""
    text = repr(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _VALUE_CHARS else f"{text[:_VALUE_CHARS]}..."


def not_a_choice(value: object, choices: Sequence[Any], *, is_model: bool) -> str:
    """Say in words that *value* is not one of *choices*."""
    what = "file" if is_model else "choice"
    if not choices:
        return f"{shown(value)}: the server has no {what}"
    if len(choices) <= _FEW_CHOICES:
        return f"{shown(value)} is none of {', '.join(map(shown, choices))}"
    return f"{shown(value)} is none of the {len(choices)} {what}s"


def looks_like_model(value: object, *, choices_are_models: bool) -> bool:
    """Say whether a value that is not a valid choice is a missing weight file."""
    return is_model_name(value) or (choices_are_models and isinstance(value, str))


def unknown_class(node: str, name: str, known: Sequence[str]) -> Problem:
    """Say that the server, which has the *known* classes, has none of this *name*."""
    text = f"the server has no node class {shown(name)}; a custom node pack may be missing"
    return Problem(text, node, name, value=name, choices=known)


def no_output(info: ObjectInfo) -> Problem:
    """Say that no node saves a file, and name classes of *info* that do."""
    known = [name for name in _SAVERS if info.get(name, {}).get("output_node")] or _SAVERS[:4]
    return Problem(f"no output node: add one that saves, such as {', '.join(known)}")


def as_warning(problem: Problem) -> str:
    """Say that *problem* did not stop the graph, because other outputs do not need its node."""
    return f"{problem}; the output nodes that need it were left out."


def as_error(problems: Sequence[Problem], *, models_place: str = SERVER_FOLDERS) -> GraphRefused | ModelNotFound:
    """
    Combine *problems* (at least one) into one error (see `told`).

    It is ModelNotFound if only weight files are missing; *models_place* is where the reader may put them.
    """
    missing = [problem for problem in problems if problem.missing_model]
    if len(missing) == len(problems):
        return _model_not_found(missing, models_place)
    field = next((problem.input for problem in problems if problem.input), None)
    return GraphRefused(f"The graph cannot run: {told(problems)}.", field=field)


def told(problems: Sequence[Problem]) -> str:
    """
    Name at most eight of *problems*, and count the others.

    Some of each kind are named: a graph that lacks twenty node classes may lack a weight file too.
    """
    lines = [str(problem) for problem in _some_of_each_kind(problems)]
    more = f" ... and {len(problems) - len(lines)} more" if len(problems) > len(lines) else ""
    return f"{'; '.join(lines)}{more}"


def _some_of_each_kind(problems: Sequence[Problem]) -> list[Problem]:
    """Return at most eight of *problems* in their order: unknown classes, missing files and others take turns."""
    kinds: dict[tuple[bool, bool], list[int]] = {}
    for at, problem in enumerate(problems):
        kinds.setdefault((bool(problem.input), problem.missing_model), []).append(at)
    in_turn = [at for turn in zip_longest(*kinds.values()) for at in turn if at is not None]
    return [problems[at] for at in sorted(in_turn[:_MOST_SHOWN])]


def _model_not_found(missing: Sequence[Problem], models_place: str) -> ModelNotFound:
    names = list(dict.fromkeys(str(problem.value) for problem in missing))
    first, others = missing[0], names[1:]
    also = f" Also missing: {', '.join(map(repr, others[:_MOST_SHOWN]))}." if others else ""
    alike = first.nearest()
    near = f" Nearest: {', '.join(map(repr, alike))}." if alike else ""
    place = f"node {first.node} ({first.class_type}), input {first.input!r}"
    hint = f"Asked for by {place}.{near}{also} Searched: what the server lists there."
    return ModelNotFound(f"Model {names[0]!r} not found in {models_place}", hint=hint, field=first.input)
