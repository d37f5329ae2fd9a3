"""
Read why a server refused a graph: the 400 (or the 200 with `node_errors`) of `POST /prompt`. Pure.

`error.details` is empty if the fault is upstream of an output node, so the text is built from `node_errors`. Types and
shapes were recorded from ComfyUI 0.10.0. An unknown type keeps the server's own message.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from wanworker.comfyui.graph.object_info import NodeInput, ObjectInfo, read_class
from wanworker.comfyui.graph.problems import (
    SERVER_FOLDERS,
    Problem,
    as_error,
    looks_like_model,
    no_output,
    not_a_choice,
    shown,
    unknown_class,
)
from wanworker.errors import GraphRefused, ModelNotFound

_CLASS_IN_MESSAGE = re.compile(r"node (\S+) does not exist")
_NODE_IN_DETAILS = re.compile(r"#(\S+?)'?$")


def refused(
    body: object, info: ObjectInfo | None = None, *, models_place: str = SERVER_FOLDERS
) -> GraphRefused | ModelNotFound:
    """Return the error to raise for the body of a refusal. *info* helps with lists that the server cut short."""
    return as_error(problems_in(body, info or {}), models_place=models_place)


def problems_in(body: object, info: ObjectInfo) -> tuple[Problem, ...]:
    """Return the problems in a refusal, at least one. The faults of the deepest nodes come first."""
    data = body if isinstance(body, dict) else {}
    found = tuple(problem for node, told in _items(data.get("node_errors")) for problem in _of_node(node, told, info))
    return found or (_whole_graph(data.get("error"), info),)


def _of_node(node: str, told: Mapping[str, Any], info: ObjectInfo) -> Iterator[Problem]:
    class_type = str(told.get("class_type", ""))
    for error in told.get("errors") or ():
        if isinstance(error, dict):
            yield _of_error(node, class_type, error, info)


def _of_error(node: str, class_type: str, error: Mapping[str, Any], info: ObjectInfo) -> Problem:
    extra = error.get("extra_info")
    extra = extra if isinstance(extra, dict) else {}
    kind, name = error.get("type"), str(extra.get("input_name") or "")
    value = extra.get("received_value")
    if kind == "value_not_in_list":
        return _not_in_list(node, class_type, name, value, _the_input(class_type, name, extra, info))
    texts = {
        "required_input_missing": "the required input is missing",
        "value_smaller_than_min": f"{error.get('message')}",
        "value_bigger_than_max": f"{error.get('message')}",
        "invalid_input_type": f"{error.get('message')}; got {shown(value)}",
        "bad_linked_input": f'{shown(value)} is not a link; a link is ["node id", output number]',
        "return_type_mismatch": f"linked to an output of the wrong type: {error.get('details')}",
        "custom_validation_failed": str(error.get("details")).removeprefix(f"{name} - "),
        "exception_during_inner_validation": _inner_text(error, extra),
    }
    text = texts.get(str(kind)) or f"{error.get('message')}: {error.get('details')}"
    return Problem(text, node, class_type, name, value)


def _inner_text(error: Mapping[str, Any], extra: Mapping[str, Any]) -> str:
    """
    Say what causes the Python error that the server's own check ran into, because the server shows only that error.
    """
    causes = {
        "'inputs'": "has no inputs",
        "tuple index out of range": "is linked to an output that does not exist",
    }
    linked = extra.get("linked_node")
    source = linked[0] if isinstance(linked, list) and linked else "?"
    missing = f"or one behind it is linked to node {error.get('details')}, which is not in the graph"
    return f"the linked node {source} {causes.get(str(error.get('details')), missing)}"


def _not_in_list(node: str, class_type: str, name: str, value: Any, item: NodeInput | None) -> Problem:
    text, choices = f"{shown(value)} is not in the list", tuple[Any, ...]()
    if item is not None:
        choices = item.choices or ()
        text = not_a_choice(value, choices, is_model=item.is_model)
    missing = looks_like_model(value, choices_are_models=item is not None and item.is_model)
    return Problem(text, node, class_type, name, value, choices, missing)


def _the_input(class_type: str, name: str, extra: Mapping[str, Any], info: ObjectInfo) -> NodeInput | None:
    """Return the input as the refusal describes it, or else as object_info does: refusals leave out lists over 20."""
    config = extra.get("input_config")
    if isinstance(config, list):
        info = {class_type: {"input": {"required": {name: config}}}}
    return read_class(class_type, info[class_type]).inputs.get(name) if class_type in info else None


def _whole_graph(error: object, info: ObjectInfo) -> Problem:
    told = error if isinstance(error, dict) else {}
    kind, message, details = (str(told.get(key) or "") for key in ("type", "message", "details"))
    if kind == "prompt_no_outputs":
        return no_output({})
    unknown = _CLASS_IN_MESSAGE.search(message)
    if unknown:
        name, node = unknown[1], _NODE_IN_DETAILS.search(details)
        return unknown_class(node[1] if node else "", name, tuple(info))
    if kind == "prompt_outputs_failed_validation" and not details:
        return Problem("the server refused it without a reason; a circle of links does that")
    return Problem(": ".join(filter(None, [message, details])) or "the server refused it without a reason")


def _items(value: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for key, item in (value if isinstance(value, dict) else {}).items():
        if isinstance(item, dict):
            yield str(key), item
