"""Refuse pictures with so many parts that decoding them would never end, judging by the heads of the parts alone."""

from __future__ import annotations

import itertools
import mmap
import re
import struct
from collections.abc import Iterator
from pathlib import Path

from wanworker.errors import InputRefused
from wanworker.media._filetype import FileType

#: Each scan of a progressive JPEG covers the whole picture. Encoders write about ten scans.
MAX_SCANS = 100
#: libpng writes a chunk for every 8 KiB, which makes 4,000 chunks in the largest accepted file.
MAX_PARTS = 50_000
#: Only the first frame of an animation is used, but some decoders list all frames first.
MAX_FRAMES = 10_000

_SCAN, _END, _STANDALONE = 0xDA, 0xD9, {0x01, 0xD8}
#: Between segments is the data of a scan, where 0xFF is followed by zero or by a restart mark (ITU T.81, B.1.1).
_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")


def check_parts(path: Path, file_type: FileType) -> None:
    """Raise InputRefused if the picture *path* has more scans, chunks or frames than real pictures have."""
    walk = _WALKS.get(file_type.reader)
    if walk is None:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        scans = frames = 0
        for part, kind in enumerate(itertools.islice(walk(content), MAX_PARTS + 1)):
            scans += kind == b"SOS"
            frames += kind == b"ANMF" or kind == b"fcTL"
            _check(part, scans, frames, file_type)


def _check(parts: int, scans: int, frames: int, file_type: FileType) -> None:
    for count, most, name in ((scans, MAX_SCANS, "scans"), (frames, MAX_FRAMES, "frames"), (parts, MAX_PARTS, "parts")):
        if count >= most + (name != "parts"):
            raise InputRefused(
                f"the picture is {file_type.name} of more than {most:,} {name}.",
                hint="Open it in any program and save it again as a plain PNG or JPEG.",
            )


def _jpeg_segments(content: mmap.mmap) -> Iterator[bytes]:
    at = 2
    while found := _MARKER.search(content, at):
        kind, at = found[1][0], found.end()
        if kind == _END:
            return
        if kind not in _STANDALONE:
            at += max(2, int.from_bytes(content[at : at + 2], "big"))
        yield b"SOS" if kind == _SCAN else b""


def _png_chunks(content: mmap.mmap) -> Iterator[bytes]:
    at = 8
    while at + 8 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, at)
        at += size + 12
        yield kind


def _webp_chunks(content: mmap.mmap) -> Iterator[bytes]:
    at = 12
    while at + 8 <= len(content):
        kind, size = struct.unpack_from("<4sI", content, at)
        at += 8 + size + size % 2
        yield kind


_WALKS = {"JPEG": _jpeg_segments, "PNG": _png_chunks, "WEBP": _webp_chunks}
