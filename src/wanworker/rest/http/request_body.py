"""Read a request's body into fields: JSON, or a form with a picture."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Awaitable, Collection
from contextlib import aclosing
from typing import Any, NoReturn

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from wanworker.actions.request.json_value import MAX_DEPTH, check_json
from wanworker.errors import InvalidRequest
from wanworker.media.outputs.upload_url import FIELD
from wanworker.media.threads import in_thread
from wanworker.rest.http.errors import BrokenRequest, WrongMediaType
from wanworker.text.json_text import read_json
from wanworker.text.json_words import kind_of, why_unreadable

#: How many text parts a form may have, beside the picture.
_MAX_FIELDS = 64


async def read_fields(request: Request, *, files: Collection[str] = ("image",)) -> dict[str, Any]:
    """
    Return the fields of a JSON object or a form. *files* names the fields of a form that may be a file.

    Raises InvalidRequest, WrongMediaType and TooLarge.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _form_fields(_multipart(request, len(files)), files)
    if kind == "application/x-www-form-urlencoded":
        return await _form_fields(request.form(max_fields=_MAX_FIELDS), files)
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
        value = read_json(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise InvalidRequest(f"The body is nested too deeply; at most {MAX_DEPTH} levels are read.") from error
    except ValueError as error:
        raise InvalidRequest(f"The body cannot be read as JSON: {why_unreadable(error)}.") from error
    if not isinstance(value, dict):
        raise InvalidRequest(f"The body must be a JSON object; got {kind_of(value)}.")
    check_json(value)
    # Null means left out, as in all requests.
    return {key: item for key, item in value.items() if item is not None}


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


class _WholeForm(MultiPartParser):
    """Parse a multipart form that has its closing boundary. Without it the last part would be dropped in silence."""

    _has_ended = False

    def on_end(self) -> None:
        """Note the closing boundary."""
        self._has_ended = True

    async def parse(self) -> FormData:
        """Return the form. Raises MultiPartException."""
        form = await super().parse()
        if not self._has_ended:
            await form.close()
            raise MultiPartException("it stops before its closing boundary, so its last part may be cut off")
        return form


async def _multipart(request: Request, max_files: int) -> FormData:
    async with aclosing(request.stream()) as stream:
        return await _WholeForm(request.headers, stream, max_files=max_files, max_fields=_MAX_FIELDS).parse()


async def _form_fields(reading: Awaitable[FormData], files: Collection[str]) -> dict[str, Any]:
    try:
        form = await reading
    except ClientDisconnect:
        raise BrokenRequest("The body broke off.") from None
    except (MultiPartException, HTTPException) as error:  # for a body that breaks the rules of forms
        text = error.message if isinstance(error, MultiPartException) else str(error.detail)
        raise InvalidRequest(
            f"The form cannot be read: {text.rstrip('.')}.",
            hint="Send multipart/form-data as RFC 7578 has it, with its boundary in Content-Type, or application/json.",
        ) from error
    try:
        parts = [(name, await _part(name, value, files)) for name, value in form.multi_items()]
    finally:
        await form.close()
    times_of = Counter(name for name, _ in parts if name != FIELD)
    if repeated := [name for name, times in times_of.items() if times > 1]:
        raise InvalidRequest(f"The form has the field {repeated[0][:60]!r} more than once.", field=repeated[0][:60])
    # An empty field means left out, because a browser's form sends it so.
    fields: dict[str, Any] = {name: text for name, text in parts if text}
    if FIELD in fields:  # the only field that is a list: a form repeats it
        fields[FIELD] = [text for name, text in parts if name == FIELD and text]
    await in_thread(check_json, fields)
    return fields


async def _part(name: str, value: UploadFile | str, files: Collection[str]) -> str:
    """Return a field's text. A file is returned as base64, as in JSON."""
    if isinstance(value, str):
        return value
    if name not in files:
        words = " or ".join(f"`{each}`" for each in files)
        raise InvalidRequest(f"The form has a file in the field {name[:60]!r}; only {words} may be a file.", field=name)
    content = await value.read()
    if value.filename and not content:  # a browser sends no name where no file was chosen
        raise InvalidRequest(f"{name}: it is an empty file.", hint="Send a file with content.", field=name)
    return (await in_thread(base64.b64encode, content)).decode("ascii")
