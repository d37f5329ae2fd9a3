"""
Check that a safetensors file is complete, from its header. Loads no torch.

The format (see the safetensors project's README): 8 bytes of header length (little-endian), that many bytes of JSON,
then the data of the tensors one after another up to the end of the file. The usual damage is a download that was cut
short: the file then ends before the data that its header promises.
"""

from __future__ import annotations

import functools
import json
import struct
from pathlib import Path
from typing import Any

#: The longest header, as in the reference implementation.
_MAX_HEADER_BYTES = 100_000_000


class BrokenSafetensors(ValueError):
    """The file is not a safetensors file, or part of it is missing. The text says what was found."""


def read_header(path: Path) -> dict[str, Any]:
    """
    Return the header: tensor name -> dtype, shape, data_offsets; also `__metadata__` if the file has it.

    Raises BrokenSafetensors unless the tensors' data end exactly where the file ends, and OSError if it is unreadable.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(_MAX_HEADER_BYTES, size - 8):
            raise BrokenSafetensors(f"no safetensors header in a file of {size} bytes")
        header = _parsed(file.read(length))
    try:
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        expected = 8 + length + max(ends, default=0)
    except (TypeError, KeyError, IndexError) as error:
        raise BrokenSafetensors("a tensor of the header has no data_offsets") from error
    if expected != size:
        raise BrokenSafetensors(f"{size} bytes are there, but the header promises {expected}")
    return header


def data_start(path: Path) -> int:
    """Return the byte at which the data of the tensors begin: what `data_offsets` count from."""
    with path.open("rb") as file:
        length: int = struct.unpack("<Q", file.read(8))[0]
    return 8 + length


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BrokenSafetensors("the header is not JSON") from error
    if not isinstance(header, dict):
        raise BrokenSafetensors("the header is not a JSON object")
    return header


def check_header(path: Path) -> None:
    """
    Return if *path* is complete. Raises BrokenSafetensors saying what is wrong, and OSError if it cannot be read.

    The result is kept by path, size and time of change, so asking again costs only one stat.
    """
    facts = path.stat()
    flaw = _flaw(path, facts.st_size, facts.st_mtime_ns)
    if flaw:
        raise BrokenSafetensors(flaw)


@functools.lru_cache(maxsize=4096)
def _flaw(path: Path, _size: int, _mtime_ns: int) -> str:
    try:
        read_header(path)
    except BrokenSafetensors as error:
        return str(error)
    return ""
