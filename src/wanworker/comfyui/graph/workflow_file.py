"""
Read a workflow out of the bytes of a file: JSON, or the metadata that ComfyUI writes into pictures and videos. Pure.

ComfyUI keeps two texts in what it saves, "prompt" (the API format) and "workflow" (the browser's). A PNG has them as
text chunks, a WebP or JPEG in its EXIF, and an mp4 as metadata of the whole movie.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from wanworker.comfyui.graph.api_format import is_api_format, is_ui_format, unwrapped
from wanworker.errors import GraphRefused
from wanworker.text.json_text import RepeatedKey, read_json

_NAMES = ("prompt", "workflow")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_PICTURES = (b"\x89PNG\r\n\x1a\n", b"RIFF", b"\xff\xd8\xff")

#: Where an mp4 has its metadata, from the outside in.
_FRAMES = b"mdat"
_MOVIE, _USER, _META, _KEYS, _VALUES = b"moov", b"udta", b"meta", b"keys", b"ilst"
_BOX_HEAD, _LONG_HEAD = 8, 16
#: `meta` in an mp4 begins with a version, in a QuickTime movie it does not.
_VERSION_BYTES = 4
#: A value's box begins with its own head, its kind and its language.
_VALUE_HEAD = 16
_HINT = "Use a file that ComfyUI saved with its metadata, or export the workflow as JSON."


def read_workflow_file(data: bytes) -> dict[str, Any]:
    """
    Return the workflow in a file's bytes, in API or browser format, without wrappers (see api_format.unwrapped).

    Taken are JSON, PNG, WebP, JPEG and mp4 (also mov and m4a). Raises GraphRefused if *data* is none of them, is
    damaged, or has no workflow in it.
    """
    document = unwrapped(_metadata(data) if is_media_file(data) else _json(data))
    if not isinstance(document, dict) or not (is_ui_format(document) or is_api_format(document)):
        raise GraphRefused("The file has no workflow in it.", hint=_HINT, field="workflow")
    return document


def is_media_file(data: bytes) -> bool:
    """Say whether *data* begins like a picture or a video that can hold a workflow."""
    return data.startswith(_PICTURES) or data[4:8] == b"ftyp"


def without_frames(file: BinaryIO, limit: int) -> bytes:
    """
    Return the first *limit* bytes of a file. Of an mp4, the boxes of frames are left out. Blocks.

    The metadata of a long video is small, and behind the frames. Raises OSError.
    """
    start = file.read(_LONG_HEAD)
    if start[4:8] != b"ftyp":
        return start + file.read(limit - len(start))
    kept, at, size = bytearray(), 0, _LONG_HEAD
    end = file.seek(0, os.SEEK_END)
    while size >= _BOX_HEAD and len(kept) < limit and len(start) >= _BOX_HEAD:
        kind, _, size = _head(start)
        size = min(size, end - at)  # a damaged file may claim any size
        if kind != _FRAMES:
            file.seek(at)
            kept += file.read(min(size or limit, limit - len(kept)))
        at += size
        file.seek(at)
        start = file.read(_LONG_HEAD)
    return bytes(kept)


def _json(data: bytes) -> object:
    try:
        return read_json(data.removeprefix(_BYTE_ORDER_MARK))
    except RepeatedKey as error:
        raise GraphRefused(f"The file cannot be read as JSON: {error}.", hint=_HINT, field="workflow") from error
    except (ValueError, RecursionError) as error:
        message = "The file is neither JSON nor a picture or video with a workflow in it."
        raise GraphRefused(message, hint=_HINT, field="workflow") from error


def _metadata(data: bytes) -> Mapping[str, str]:
    try:
        found = dict(_movie_texts(data)) if data[4:8] == b"ftyp" else dict(_picture_texts(data))
    except (OSError, ValueError, SyntaxError, struct.error) as error:  # PIL raises SyntaxError for a broken PNG
        message = f"The file's metadata cannot be read: {str(error)[:200]}"
        raise GraphRefused(message, hint=_HINT, field="workflow") from error
    return {name: found[name] for name in _NAMES if name in found}


def _picture_texts(data: bytes) -> Iterator[tuple[str, str]]:
    """Yield the texts of a picture. No pixel is decoded, and PIL limits the length of compressed texts."""
    from PIL import Image  # a slow import

    try:
        opened = Image.open(io.BytesIO(data), formats=("PNG", "WEBP", "JPEG"))
    except Image.DecompressionBombError as error:  # it is no ValueError
        raise ValueError(str(error)) from error
    with opened as picture:
        yield from ((str(name), text) for name, text in picture.info.items() if isinstance(text, str))
        for text in picture.getexif().values():
            # ComfyUI writes `name:{...}` into tags that a camera fills with its make and model.
            name, colon, value = str(text).partition(":")
            if colon and name.lower() in _NAMES:
                yield name.lower(), value


def _movie_texts(data: bytes) -> Iterator[tuple[str, str]]:
    for movie in _inside(data, 0, len(data), _MOVIE):
        for holder in (movie, *_inside(data, *movie, _USER)):
            for start, end in _inside(data, *holder, _META):
                skipped = 0 if data[start + 4 : start + 8] == b"hdlr" else _VERSION_BYTES
                yield from _named_values(data, start + skipped, end)


def _named_values(data: bytes, start: int, end: int) -> Iterator[tuple[str, str]]:
    names: list[str] = []
    for at, until in _inside(data, start, end, _KEYS):
        names += [text.decode(errors="replace") for _, text in _entries(data, at + 8, until)]
    for at, until in _inside(data, start, end, _VALUES):
        for kind, body in _entries(data, at, until):
            number = int.from_bytes(kind)
            if 0 < number <= len(names):
                yield names[number - 1], body[_VALUE_HEAD:].decode(errors="replace")


def _entries(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, bytes]]:
    for kind, at, until in _boxes(data, start, end):
        yield kind, data[at:until]


def _inside(data: bytes, start: int, end: int, wanted: bytes) -> Iterator[tuple[int, int]]:
    return ((at, until) for kind, at, until in _boxes(data, start, end) if kind == wanted)


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield (kind, start, end) of the content of each box. Stops at a size that cannot be."""
    while start + _BOX_HEAD <= end:
        kind, head, size = _head(data[start : min(start + _LONG_HEAD, end)])
        size = size or end - start
        if size < head or start + size > end:
            return
        yield kind, start + head, start + size
        start += size


def _head(data: bytes) -> tuple[bytes, int, int]:
    """Return the kind of a box, the bytes of its head and of all of it. A size of 0 means up to the end."""
    size, kind = struct.unpack_from(">I4s", data)
    if size == 1 and len(data) >= _LONG_HEAD:
        return kind, _LONG_HEAD, struct.unpack_from(">Q", data, _BOX_HEAD)[0]
    return kind, _BOX_HEAD, size
