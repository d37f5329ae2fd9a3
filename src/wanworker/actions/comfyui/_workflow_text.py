"""Read a workflow from JSON text, or from a picture or video that ComfyUI saved."""

from __future__ import annotations

from typing import Any

from wanworker.actions.request.json_value import MAX_DEPTH, check_json
from wanworker.errors import InvalidRequest
from wanworker.media.inputs.data_uri import decode, is_data_url
from wanworker.text.json_text import read_json
from wanworker.text.json_words import kind_of, why_unreadable
from wanworker.text.mixups import kind_of_source

#: The largest file that may come as a data URI.
_FILE_BYTES = 64 << 20

_BYTE_ORDER_MARK = "\ufeff"
_FENCE = "```"
_OPENERS = frozenset('{["')


def parsed(text: str | bytes, what: str) -> dict[str, Any]:
    """
    Return the workflow in *text*, in API or browser format; *what* begins the messages.

    *text* is JSON, a data URI, base64 text, or the bytes of a file, also of a picture or video with a workflow in its
    metadata. The JSON may be encoded twice, and stand between the marks of a block of code.

    Raises InvalidRequest, and GraphRefused for an object that is no workflow.
    """
    from wanworker.comfyui.graph.workflow_file import is_media_file, read_workflow_file  # a slow import

    if isinstance(text, str) and is_file_text(text):
        text = decode(text, max_bytes=_FILE_BYTES)
    if isinstance(text, bytes) and is_media_file(text):
        found = read_workflow_file(text)
        check_json({"workflow": found})
        return checked(found, what)
    try:
        document = read_json(_unfenced(text if isinstance(text, str) else text.decode("utf-8-sig")))
        document = read_json(document) if isinstance(document, str) else document
    except RecursionError as error:
        message = f"{what} is nested too deeply; at most {MAX_DEPTH} levels are read."
        raise InvalidRequest(message, field="workflow") from error
    except ValueError as error:
        message = f"{what} is text, but cannot be read as JSON: {why_unreadable(error)}."
        raise InvalidRequest(message, field="workflow") from error
    check_json({"workflow": document})
    return checked(document, what)


def is_file_text(text: str) -> bool:
    """Say whether *text* is a file, as a data URI or as base64 text, and not a name or a URL."""
    return is_data_url(text) or kind_of_source(text) == "base64"


def is_json_text(text: str) -> bool:
    """Say whether *text* is meant as JSON and not as a name or a URL."""
    return _bare(text)[:1] in _OPENERS or _bare(text).startswith(_FENCE)


def _bare(text: str) -> str:
    return text.strip().removeprefix(_BYTE_ORDER_MARK).strip()


def _unfenced(text: str) -> str:
    """Return *text* without a mark of the byte order, and without the marks of a block of code (```json)."""
    bare = _bare(text)
    if not bare.startswith(_FENCE):
        return bare
    block = bare.removeprefix(_FENCE).removesuffix(_FENCE)
    start = next((at for at, sign in enumerate(block) if sign in _OPENERS), 0)  # behind the name of the language
    return block[start:]


def checked(document: object, what: str = "workflow") -> dict[str, Any]:
    """Return the workflow inside *document*, without its usual wrappers. Raises InvalidRequest and GraphRefused."""
    from wanworker.comfyui.graph.api_format import check_finite, is_ui_format, read_graph, unwrapped  # a slow import

    inner = unwrapped(document)
    if not isinstance(inner, dict):
        message = f"{what} must be an object: a graph in API or browser format; got {kind_of(inner)}."
        raise InvalidRequest(message, field="workflow")
    if inner is not document:  # a wrapper may hold the workflow as text
        check_json({"workflow": inner})
    if is_ui_format(inner):
        check_finite(inner)
        return inner
    return read_graph(inner)  # a malformed graph is refused without asking the server
