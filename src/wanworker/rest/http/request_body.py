"""Read a request's body into fields: JSON, or a form with a picture."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Collection
from contextlib import aclosing
from typing import Any, NoReturn

from starlette.datastructures import FormData, Headers, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from wanworker.actions.request.json_value import MAX_DEPTH, check_json
from wanworker.errors import InvalidRequest, RequestError
from wanworker.media.inputs.data_uri import decode, is_data_url, with_lost_plus
from wanworker.media.outputs.upload_url import FIELD
from wanworker.media.threads import in_thread
from wanworker.rest.http.errors import BrokenRequest, WrongMediaType
from wanworker.text.json_text import read_json
from wanworker.text.json_words import kind_of, why_unreadable

#: How many text parts a form may have, beside the picture.
_MAX_FIELDS = 64

_BASE64 = "base64"
#: The values of Content-Transfer-Encoding that are read. All but base64 say that the content is as it is.
_ENCODINGS = ("", _BASE64, "7bit", "8bit", "binary")


async def read_fields(request: Request, *, files: Collection[str] = ("image",)) -> dict[str, Any]:
    """
    Return the fields of a JSON object or a form. *files* names the fields of a form that may be a file.

    Raises InvalidRequest, WrongMediaType and TooLarge.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _form_fields(_multipart(request, files), files)
    if kind == "application/x-www-form-urlencoded":
        return await _form_fields(_urlencoded(request, files), files)
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
    """
    Parse a multipart form that has its closing boundary. Without it the last part would be dropped in silence.

    Texts that are sent as base64, as programs for mail do, are decoded, except those of *files*, which may be base64.
    """

    def __init__(self, request: Request, stream: AsyncGenerator[bytes, None], files: Collection[str]) -> None:
        super().__init__(request.headers, stream, max_files=len(files) + 1, max_fields=_MAX_FIELDS)
        self._files = files
        self._has_ended = False
        self._encoding = ""

    def on_headers_finished(self) -> None:
        """Begin a part. Raises MultiPartException for an encoding that is not read."""
        super().on_headers_finished()
        self._encoding = _encoding(Headers(raw=self._current_part.item_headers))
        if self._encoding not in _ENCODINGS:
            name, known = self._current_part.field_name[:60], ", ".join(filter(None, _ENCODINGS))
            told = f"the Content-Transfer-Encoding of {name!r} is {self._encoding[:60]!r}; expected {known}"
            raise MultiPartException(told)

    def on_part_end(self) -> None:
        """End a part. Raises MultiPartException for a text that is not the base64 that its header says."""
        part = self._current_part
        if self._encoding == _BASE64 and part.file is None and part.field_name not in self._files and part.data:
            try:
                part.data = bytearray(decode(part.data.decode("latin-1"), max_bytes=self.max_part_size))
            except RequestError as error:
                raise MultiPartException(f"{part.field_name[:60]!r} is sent as base64, and {error}") from error
        super().on_part_end()

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


async def _multipart(request: Request, files: Collection[str]) -> FormData:
    async with aclosing(request.stream()) as stream:
        return await _WholeForm(request, stream, files).parse()


async def _urlencoded(request: Request, files: Collection[str]) -> FormData:
    """Return the form. In base64 text, a `+` that was not escaped is put back."""
    form = await request.form(max_fields=_MAX_FIELDS)

    def restored(name: str, text: str) -> str:
        may_be_base64 = name in files or name.endswith("_base64") or is_data_url(text)
        return with_lost_plus(text) if may_be_base64 else text

    def whole() -> list[tuple[str, str | UploadFile]]:
        return [(name, restored(name, str(text))) for name, text in form.multi_items()]

    return FormData(await in_thread(whole))


def _encoding(headers: Headers) -> str:
    return headers.get("content-transfer-encoding", "").strip().lower()


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
    if _encoding(value.headers) == _BASE64:
        return content.decode("ascii", "replace")
    return (await in_thread(base64.b64encode, content)).decode("ascii")
