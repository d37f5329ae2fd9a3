"""Read a request's body into fields: JSON, or a form with a picture."""

from __future__ import annotations

import base64
import json
from typing import Any, NoReturn

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from wanworker.actions.request.json_value import MAX_DEPTH, check_json
from wanworker.errors import InvalidRequest
from wanworker.media.disk import in_thread
from wanworker.media.outputs.upload_url import FIELD
from wanworker.rest.http.errors import BrokenRequest, WrongMediaType
from wanworker.text.json_words import kind_of

#: How many text parts a form may have, beside the picture.
_MAX_FIELDS = 64


async def read_fields(request: Request) -> dict[str, Any]:
    """Return the fields of a JSON object or a form. Raises InvalidRequest, WrongMediaType and TooLarge."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in {"multipart/form-data", "application/x-www-form-urlencoded"}:
        return await _form(request)
    if kind == "application/json" or kind.endswith("+json"):
        return await in_thread(_parsed, await _body(request))
    raise WrongMediaType(f"Content-Type is {kind[:60]!r}; expected application/json or multipart/form-data.")


async def read_object(request: Request) -> dict[str, Any]:
    """Return the JSON object of a body that must be JSON."""
    return await in_thread(_parsed, await _body(request))


async def _body(request: Request) -> bytearray:
    """Return the whole body. Nothing else keeps it, because a body with a picture has up to 44 MB."""
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
    except ClientDisconnect:
        raise BrokenRequest("The body broke off.") from None
    return body


def _parsed(body: bytearray) -> dict[str, Any]:
    if not body.strip():
        raise InvalidRequest("The body is empty; send a JSON object with the fields of the request.")
    try:
        text = body.decode(json.detect_encoding(body), "surrogatepass")
        body.clear()  # its text is as large, so it is freed as soon as possible
        value = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise InvalidRequest(f"The body is nested too deeply; at most {MAX_DEPTH} levels are read.") from error
    except ValueError as error:
        raise InvalidRequest(f"The body cannot be read as JSON: {_place_in(error)}.") from error
    if not isinstance(value, dict):
        raise InvalidRequest(f"The body must be a JSON object; got {kind_of(value)}.")
    check_json(value)
    # Null means left out, as in all requests.
    return {key: item for key, item in value.items() if item is not None}


def _place_in(error: ValueError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start + 1:,} is not UTF-8"
    return str(error)[:200]


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


async def _form(request: Request) -> dict[str, Any]:
    try:
        async with request.form(max_files=1, max_fields=_MAX_FIELDS) as form:
            parts = [(name, await _part(name, value)) for name, value in form.multi_items()]
    except ClientDisconnect:
        raise BrokenRequest("The body broke off.") from None
    except HTTPException as error:  # Starlette raises this for a body that breaks the rules of multipart.
        raise InvalidRequest(
            f"The form cannot be read: {str(error.detail).rstrip('.')}.",
            hint="Send multipart/form-data as RFC 7578 has it, with its boundary in Content-Type, or application/json.",
        ) from error
    # An empty field means left out, because a browser's form sends it so.
    fields: dict[str, Any] = {name: text for name, text in parts if text}
    if FIELD in fields:  # the only field that is a list: a form repeats it
        fields[FIELD] = [text for name, text in parts if name == FIELD and text]
    check_json(fields)
    return fields


async def _part(name: str, value: UploadFile | str) -> str:
    """Return a field's text. A picture is returned as base64, as in JSON."""
    if isinstance(value, str):
        return value
    if name != "image":
        raise InvalidRequest(f"The form has a file in the field {name[:60]!r}; only `image` may be a file.", field=name)
    return (await in_thread(base64.b64encode, await value.read())).decode("ascii")
