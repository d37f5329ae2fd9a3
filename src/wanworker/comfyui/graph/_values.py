"""Judge the values that a graph has for inputs, and read them as the server does. Pure."""

from __future__ import annotations

import re
from typing import Any

from wanworker.comfyui.graph.object_info import NodeInput
from wanworker.comfyui.graph.problems import Problem, looks_like_model, not_a_choice, shown
from wanworker.errors import GraphRefused

_NUMBERS = {"INT": int, "FLOAT": float}

#: Types of the core that only a link can give. The server queues a value for one, and the node fails on it.
_LINKED = frozenset({"AUDIO", "CLIP", "CONDITIONING", "IMAGE", "LATENT", "MASK", "MODEL", "VAE", "VIDEO"})
_WORDS = {"true": True, "false": False}

#: A file system's limit is 255. The run adds up to 67 bytes to the name (see with_prefix), the server a number and the
#: ending.
_MOST_NAME_BYTES = 170


def as_read(item: NodeInput, value: Any) -> Any:
    """
    Return what the server makes of a *value* that is not of the type of its input, or *value* itself.

    It cuts off the fraction of a whole number, and takes true for 1. It takes every text for true; here the words true
    and false mean what they say. What cannot be read stays, and `check_value` refuses it.
    """
    if item.type == "BOOLEAN" and isinstance(value, str):
        return _WORDS.get(value.strip().lower(), value)
    is_cut = item.type == "INT" and isinstance(value, float) and not value.is_integer()
    if item.type in _NUMBERS and (is_cut or isinstance(value, bool)):
        return _NUMBERS[item.type](value)
    return value


def check_value(item: NodeInput, value: Any) -> Problem | None:
    """Say what is wrong with a *value* that is no link. A list is wrapped: `{"__value__": [...]}`."""
    value = value["__value__"] if isinstance(value, dict) and "__value__" in value else value
    if item.type == "BOOLEAN":
        # The server takes all else for true, also the text "no".
        return None if value is None or value in (True, False) else Problem(f"takes true or false; got {shown(value)}")
    if item.type in _NUMBERS:
        return _check_number(item, value)
    if _LINKED.issuperset(item.type.split(",")) and isinstance(value, str | int | float):
        return Problem(f"takes a link to an output of type {item.type}; got {shown(value)}")
    if item.choices is None or item.takes_uploads or item.allows(value):
        return None
    # object_info lacks a list that the server fills in only on demand.
    if not item.choices and "remote" in item.options:
        return None
    text = not_a_choice(value, item.choices, is_model=item.is_model)
    missing_model = looks_like_model(value, choices_are_models=item.is_model)
    return Problem(text, value=value, choices=item.choices, missing_model=missing_model)


def _check_number(item: NodeInput, value: Any) -> Problem | None:
    kind = "a whole number" if item.type == "INT" else "a number"
    try:
        number = _NUMBERS[item.type](value)
    except (TypeError, ValueError, OverflowError):
        return Problem(f"takes {kind}; got {shown(value)}")
    low, high = item.options.get("min"), item.options.get("max")
    if isinstance(low, int | float) and number < low:
        return Problem(f"must be at least {low}; got {number}")
    if isinstance(high, int | float) and number > high:
        return Problem(f"must be at most {high}; got {number}")
    return None


def check_prefix(node: object, prefix: object) -> None:
    """
    Refuse a name that any server would refuse only after the render, or could not send back.

    A path from the root is left to the server: it takes one that leads into its own output folder.
    """
    if not isinstance(prefix, str):
        return
    parts = prefix.replace("\\", "/").split("/")
    wrong = None
    if ".." in parts:
        wrong = "leads out of the output folder"
    elif any(ord(character) < 32 or ord(character) == 127 for character in prefix):
        wrong = "has a line break or another control character"
    elif max(len(part.encode(errors="replace")) for part in parts) > _MOST_NAME_BYTES:
        wrong = f"is too long: a name has at most {_MOST_NAME_BYTES} bytes"
    if wrong:
        raise GraphRefused(
            f"Node {str(node)[:40]!r}: filename_prefix {shown(prefix)} {wrong}.",
            hint="Use a plain name, with folders if you like: video/clip.",
            field="workflow",
        )


def sendable_prefix(prefix: str) -> str:
    """Return *prefix* without two dots in a row in its name: the server saves such files, but sends none of them."""
    folder, slash, name = prefix.rpartition("/")
    return f"{folder}{slash}{re.sub(r'[.]{2,}', '.', name)}"
