"""Resolve paths that callers name: only inside the allowed folders, links included."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from wanworker.errors import InputRefused, InputUnavailable
from wanworker.media.new_file import new_file

_CHUNK_BYTES = 1 << 20

#: The variable that names the roots of path inputs.
_SETTING = "WAN_INPUT_DIRS"


def file_below(value: str, roots: Sequence[Path], *, setting: str = _SETTING) -> Path:
    """
    Return the regular file that *value* names, with all symbolic links resolved.

    An absolute path must lie below one of *roots*. A relative one is looked for below each of them in turn. Nothing
    outside of them is looked at, because callers must not learn which files exist there.

    *setting* is the variable that names the roots, for the hint. Raises InputRefused for a path outside, or one that is
    not a regular file, and InputUnavailable for a missing file.
    """
    path = _below(value, roots, setting)
    if not path.is_file():
        raise InputRefused(f"{value[:200]!r} is not a regular file.", hint=_hint(roots, setting))
    return path


def directory_below(value: str, roots: Sequence[Path]) -> Path:
    """Return the folder that *value* names, by the rules and with the errors of file_below."""
    path = _below(value, roots, _SETTING)
    if not path.is_dir():
        raise InputRefused(f"{value[:200]!r} is not a folder.", hint=_hint(roots, _SETTING))
    return path


def copy_file(source: Path, target: Path, *, max_bytes: int) -> None:
    """
    Copy the regular file *source*, if it holds at most *max_bytes*. Blocks.

    Raises InputRefused if it is too large or has become a link or another kind of file, InputUnavailable if it cannot
    be read, and DiskFull.
    """
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise InputUnavailable(f"{source.name!r} cannot be read ({error.strerror}).") from error
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise InputRefused(f"{source.name!r} is not a regular file.")
        if found.st_size > max_bytes:
            raise _too_large(source, found.st_size, max_bytes)
        with new_file(target), target.open("wb") as copy:
            # Copy only the size that was checked, because the file may grow meanwhile.
            for at in range(0, found.st_size, _CHUNK_BYTES):
                copy.write(file.read(min(_CHUNK_BYTES, found.st_size - at)))


def _below(value: str, roots: Sequence[Path], setting: str) -> Path:
    """Resolve *value*, and refuse a path outside of every root."""
    if not value or "\x00" in value or ".." in Path(value).parts:
        raise InputRefused(
            f"{value[:200]!r} is not a path that is read: it is empty or has '..' in it.", hint=_hint(roots, setting)
        )
    real_roots = [root.resolve() for root in roots]
    candidates = [Path(value)] if Path(value).is_absolute() else [root / value for root in real_roots]
    resolved = [_resolved(candidate) for candidate in candidates]
    inside = [path for path in resolved if any(path.is_relative_to(root) for root in real_roots)]
    for path in inside:
        # A link that stays one after resolving runs in a circle. Since Python 3.13, resolve() does not raise for that.
        if os.path.lexists(path) and not path.is_symlink():
            return path
    if not roots or len(inside) < len(resolved):
        raise InputRefused(f"{value[:200]!r} is outside the allowed input folders.", hint=_hint(roots, setting))
    raise InputUnavailable(f"{value[:200]!r} does not exist.", hint=_hint(roots, setting))


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError) as error:  # The name is too long, or (before Python 3.13) links run in a circle.
        raise InputUnavailable(f"{path.name[:200]!r} cannot be resolved.") from error


def _hint(roots: Sequence[Path], setting: str) -> str:
    if not roots:
        return "Path inputs are switched off here: send a URL or base64 text."
    return f"Paths must lie below {', '.join(map(str, roots))} ({setting})."


def _too_large(source: Path, size_bytes: int, max_bytes: int) -> InputRefused:
    return InputRefused(f"{source.name!r} holds {size_bytes:,} bytes; at most {max_bytes:,} are taken.")
