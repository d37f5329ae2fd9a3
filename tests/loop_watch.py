"""Notice what blocks an event loop: file operations in its thread, and large JSON or base64 texts."""

from __future__ import annotations

import base64
import json
import os
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

#: A text of this many characters takes about a tenth of a millisecond to read or write.
_LARGE = 100_000

#: The audit events of operations that wait for a disk. A `stat` has none.
_ON_DISK = frozenset({"open", "os.mkdir", "os.rmdir", "os.remove", "os.rename", "os.scandir", "shutil.rmtree"})
_LARGE_CALLS: dict[Any, Callable[[FrameType], object]] = {
    json.loads.__code__: lambda frame: frame.f_locals["s"],
    base64.b64decode.__code__: lambda frame: frame.f_locals["s"],
    base64.b64encode.__code__: lambda frame: frame.f_locals["s"],
}
_CODE = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})
_hearers: list[Callable[[str, tuple[Any, ...]], None]] = []


def _heard(event: str, given: tuple[Any, ...]) -> None:
    for hear in _hearers:
        hear(event, given)


_installed = threading.Event()


@contextmanager
def blocking_calls() -> Iterator[list[str]]:
    """Yield a list of what this thread does in the block that an event loop must leave to other threads."""
    if not _installed.is_set():
        _installed.set()
        sys.addaudithook(_heard)  # for ever: Python has no way to take one back
    me, found = threading.get_ident(), list[str]()

    def hear(event: str, given: tuple[Any, ...]) -> None:
        is_mine = event in _ON_DISK and threading.get_ident() == me
        if is_mine and not _is_code(given[0]):
            found.append(f"{event} {given[0]}")

    def profile(frame: FrameType, event: str, _arg: object) -> None:
        if event == "call" and (text := _LARGE_CALLS.get(frame.f_code)) is not None:
            given = text(frame)
            if isinstance(given, str | bytes | bytearray) and len(given) > _LARGE:
                found.append(f"{frame.f_code.co_qualname} of {len(given)} characters")

    _hearers.append(hear)
    sys.setprofile(profile)
    try:
        yield found
    finally:
        sys.setprofile(None)
        _hearers.remove(hear)


def _is_code(path: object) -> bool:
    """Say whether *path* belongs to an import, or is a descriptor that is opened already."""
    if isinstance(path, int):
        return True
    text = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else str(path)
    return text.startswith(_CODE) or text.endswith((".py", ".pyc")) or "__pycache__" in text
