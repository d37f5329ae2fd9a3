"""
Read an mp4 from its boxes, without a process; a truncated file is found without decoding.

The layout is ISO/IEC 14496-12; QuickTime's .mov is the same for all that is read here.
"""

from __future__ import annotations

import operator
import struct
import sys
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from wanworker.errors import NoOutput

#: The first boxes of files of this family.
_FIRST_BOXES = frozenset((b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"))
_CODECS = {b"avc1": "h264", b"avc3": "h264", b"hvc1": "hevc", b"hev1": "hevc", b"av01": "av1", b"vp09": "vp9"}
#: The tables of a two-hour film have a few MB; what claims more is damage, and would be read into memory.
_MOST_TABLE_BYTES = 16 * 1024 * 1024
#: Boxes that are walked in one file; a two-hour film in fragments of a second has 15,000.
_MOST_BOXES = 100_000
#: As much of each other box as is read of it.
_HEAD_BYTES = 256
_TABLES = frozenset((b"stts", b"stsz", b"stsc", b"stco", b"co64"))
_WANTED = _TABLES | {b"tkhd", b"mdhd", b"hdlr", b"stsd"}
#: The way down to the tables; any other nesting is damage, and may be as deep as the file is long.
_INSIDE = {b"trak": b"mdia", b"mdia": b"minf", b"minf": b"stbl"}
#: QuickTime has a second `hdlr` in the media information, which does not tell the track's kind.
_DATA_HANDLER = (b"minf", b"hdlr")


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """
    Hold the facts of a video file: the size as shown (after rotation) in pixels, the average fps, and counted frames.
    """

    width: int
    height: int
    fps: float
    frames: int
    duration_s: float
    size_bytes: int
    codec: str
    has_audio: bool


class Fragmented(Exception):
    """The index is spread over the file (fMP4). This is not a failure, but ffmpeg has to be asked."""


@dataclass(frozen=True, slots=True)
class _Box:
    kind: bytes
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Track:
    kind: bytes
    codec: str
    width: int
    height: int
    samples: int
    duration_s: float
    last_byte: int


def looks_like_mp4(path: Path) -> bool:
    """Say whether the file starts like an mp4 or mov. False for a missing or shorter file."""
    try:
        with path.open("rb") as file:
            return file.read(8)[4:] in _FIRST_BOXES
    except OSError:
        return False


def facts(path: Path) -> VideoFacts:
    """
    Read what *path* holds from its index, without decoding.

    Raises NoOutput when the file is missing, empty, not an mp4, cut short (also where only the index tells) or has no
    video frame; Fragmented when the frames are indexed in pieces.
    """
    size_bytes = existing_size(path)
    if not looks_like_mp4(path):
        raise NoOutput(f"{path.name} is not an mp4 file: it does not start with a known box.")
    with path.open("rb") as opened:
        file = _Bounded(opened)
        try:
            tracks = [_track(file, box) for box in _boxes_of_index(file, size_bytes) if box.kind == b"trak"]
        except (struct.error, _Damaged) as error:
            raise NoOutput(f"{path.name} is cut short or damaged: {error}.") from error
    return _facts_of(path, tracks, size_bytes)


def existing_size(path: Path) -> int:
    """Return the file's size in bytes. Raises NoOutput if it is missing, empty or not a file."""
    if not path.is_file():
        raise NoOutput(f"{path.name} was not written.")
    size_bytes = path.stat().st_size
    if not size_bytes:
        raise NoOutput(f"{path.name} is empty.")
    return size_bytes


class _Damaged(Exception):
    """A box is impossible. The text says which."""


class _Bounded:
    """Read boxes and tables of a file, not more of either than a film has. Raises _Damaged."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._boxes_left = _MOST_BOXES
        self._bytes_left = _MOST_TABLE_BYTES

    def head(self, start: int, size: int) -> bytes:
        """Return the head of a box."""
        self._boxes_left -= 1
        if self._boxes_left < 0:
            raise _Damaged(f"it has more than {_MOST_BOXES:,} boxes")
        self._file.seek(start)
        return self._file.read(size)

    def body(self, box: _Box) -> bytes:
        """Return the whole of a table, and the beginning of another box."""
        size = box.end - box.start
        if box.kind in _TABLES:
            self._bytes_left -= size
        else:
            size = min(size, _HEAD_BYTES)
        if self._bytes_left < 0:
            raise _Damaged(f"its tables have more than {_MOST_TABLE_BYTES // 1024**2} MiB")
        self._file.seek(box.start)
        return self._file.read(size)


def _facts_of(path: Path, tracks: list[_Track], size_bytes: int) -> VideoFacts:
    pictures = [track for track in tracks if track.kind == b"vide"]
    if not pictures:
        raise NoOutput(f"{path.name} has no video track.")
    video = pictures[0]
    if not video.samples or video.duration_s <= 0 or not video.width or not video.height:
        raise NoOutput(f"{path.name} has a video track without frames.")
    last_byte = max(track.last_byte for track in tracks)
    if last_byte > size_bytes:
        raise NoOutput(f"{path.name} is cut short: its frames end at byte {last_byte}, the file at {size_bytes}.")
    return VideoFacts(
        width=video.width,
        height=video.height,
        fps=round(video.samples / video.duration_s, 10),
        frames=video.samples,
        duration_s=video.duration_s,
        size_bytes=size_bytes,
        codec=video.codec,
        has_audio=any(track.kind == b"soun" and track.samples for track in tracks),
    )


def _boxes_of_index(file: _Bounded, size_bytes: int) -> list[_Box]:
    # All boxes are read, also those after moov, because a cut file shows by an mdat that runs beyond its end.
    indexes = [box for box in _boxes(file, 0, size_bytes) if box.kind == b"moov"]
    if not indexes:
        raise _Damaged("it has no index (moov box)")
    inner = list(_boxes(file, indexes[0].start, indexes[0].end))
    if any(box.kind == b"mvex" for box in inner):
        raise Fragmented
    return inner


def _boxes(file: _Bounded, start: int, end: int) -> Iterator[_Box]:
    while end - start >= 8:
        head = file.head(start, 16)
        size, kind = struct.unpack_from(">I4s", head)
        body = start + 8
        if size == 1:
            size, body = struct.unpack_from(">Q", head, 8)[0], start + 16
        elif size == 0:
            size = end - start
        if start + size < body or start + size > end:
            name = kind.decode("ascii", "backslashreplace")
            raise _Damaged(f"its {name!r} box should end at byte {start + size}, but there are {end}")
        yield _Box(kind, body, start + size)
        start += size


def _track(file: _Bounded, trak: _Box) -> _Track:
    leaves = _leaves(file, trak)
    kind = bytes(leaves[b"hdlr"][8:12])
    stsd, tkhd = leaves[b"stsd"], leaves[b"tkhd"]
    width, height = struct.unpack_from(">HH", stsd, 40) if kind == b"vide" else (0, 0)
    scale_x, scale_y = _matrix_diagonal(tkhd)
    if scale_x == scale_y == 0:  # a quarter turn: players show it with its sides swapped
        width, height = height, width
    runs = _numbers(leaves[b"stts"], 4, per_entry=2)
    counts, deltas = runs[::2], runs[1::2]
    ticks = sum(map(operator.mul, counts, deltas))
    return _Track(
        kind=kind,
        codec=_CODECS.get(stsd[12:16], stsd[12:16].decode("ascii", "replace").strip()),
        width=width,
        height=height,
        samples=sum(counts),
        duration_s=ticks / max(1, _timescale(leaves[b"mdhd"])),
        last_byte=_last_byte(leaves),
    )


def _leaves(file: _Bounded, box: _Box) -> dict[bytes, bytes]:
    """Return the bodies of the needed boxes, from all levels below *box*, by their names."""
    found: dict[bytes, bytes] = {}
    for inner in _boxes(file, box.start, box.end):
        if inner.kind == _INSIDE.get(box.kind):
            found |= _leaves(file, inner)
        elif inner.kind in _WANTED and (box.kind, inner.kind) != _DATA_HANDLER:
            found[inner.kind] = file.body(inner)
    missing = {b"tkhd", b"mdhd", b"hdlr", b"stsd", b"stts"} - found.keys() if box.kind == b"trak" else None
    if missing:
        raise _Damaged(f"a track has no {min(missing).decode()!r} box")
    return found


def _matrix_diagonal(tkhd: bytes) -> tuple[int, int]:
    offset = 52 if tkhd[0] else 40
    matrix: tuple[int, ...] = struct.unpack_from(">9i", tkhd, offset)
    return matrix[0], matrix[4]


def _timescale(mdhd: bytes) -> int:
    (timescale,) = struct.unpack_from(">I", mdhd, 20 if mdhd[0] else 12)
    return int(timescale)


def _numbers(table: bytes, at: int, *, per_entry: int = 1, code: str = "I") -> array[int]:
    """Return the numbers of the entries, whose count lies at byte *at*, packed: a list would take ten times more."""
    (count,) = struct.unpack_from(">I", table, at)
    numbers = array(code)
    start, size = at + 4, count * per_entry * numbers.itemsize
    if start + size > len(table):
        raise _Damaged(f"a table of {count:,} entries ends in the middle")
    numbers.frombytes(table[start : start + size])
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers


def _last_byte(leaves: dict[bytes, bytes]) -> int:
    """Return where the last sample of the track's last chunk ends; 0 where there is no table of sizes to tell."""
    offsets = _chunk_offsets(leaves)
    if b"stsz" not in leaves or b"stsc" not in leaves or not offsets:
        return 0
    last = max(offsets)
    (same_size,) = struct.unpack_from(">I", leaves[b"stsz"], 4)
    if same_size:  # QuickTime counts sound in units that are no bytes: only the chunk's start is certain
        return last + 1
    before, inside = _samples_around(_numbers(leaves[b"stsc"], 4, per_entry=3), offsets.index(last), len(offsets))
    sizes = _numbers(leaves[b"stsz"], 8)
    return last + sum(sizes[before : before + inside])


def _chunk_offsets(leaves: dict[bytes, bytes]) -> array[int]:
    if b"co64" in leaves:
        return _numbers(leaves[b"co64"], 4, code="Q")
    return _numbers(leaves[b"stco"], 4) if b"stco" in leaves else array("I")


def _samples_around(runs: array[int], chunk: int, chunks: int) -> tuple[int, int]:
    """Return how many samples lie before *chunk* (from 0) of *chunks*, and in it. Pure."""
    firsts, per_chunk = runs[::3], runs[1::3]
    if not firsts or firsts[0] != 1:
        raise _Damaged("its table of chunks does not match the chunks")
    before = 0
    for index, samples in enumerate(per_chunk):
        end = firsts[index + 1] if index + 1 < len(firsts) else chunks + 1
        if end <= firsts[index]:
            raise _Damaged("its table of chunks does not match the chunks")
        if chunk + 1 < end:
            return before + (chunk + 1 - firsts[index]) * samples, samples
        before += (end - firsts[index]) * samples
    raise _Damaged("its table of chunks does not match the chunks")
