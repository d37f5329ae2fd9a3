"""Download one file of the hub, resume where an earlier try ended, and verify its hash."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from wanworker.errors import DiskFull
from wanworker.models.hub.api import Count, FetchFailed, HubFile

_READ_BYTES = 8 * 1024**2
_SHA256_DIGITS = 64


class Source(Protocol):
    """Where the bytes of a file come from: a Hub."""

    def download(self, file: HubFile, stream: BinaryIO, *, from_byte: int, count: Count) -> None:
        """Append the bytes from *from_byte* on to *stream*."""


def part_of(target: Path, file: HubFile) -> Path:
    """Return where the bytes of *target* are gathered; a file that changed on the hub has another part. Pure."""
    return target.with_name(f"{target.name}.{file.digest[:12]}.part")


def part_bytes(target: Path, file: HubFile) -> int:
    """Return how much of *target* an earlier try left."""
    try:
        return min(part_of(target, file).stat().st_size, file.size_bytes)
    except OSError:
        return 0


def transfer(source: Source, file: HubFile, target: Path, count: Count) -> None:
    """
    Have *file* at *target*, whole and checked, or not at all; what is there is replaced.

    Raises FetchFailed: the part stays when the connection broke, so that the next try goes on, and goes when its
    bytes are wrong. Raises DiskFull. *count* gets the bytes that come, those of the part not.
    """
    part = part_of(target, file)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _drop_older_parts(target, part)
        with _opened(part) as opened:
            stream = _Hashed(opened, file)
            source.download(file, cast(BinaryIO, stream), from_byte=stream.tell(), count=count)
            opened.flush()
            os.fsync(opened.fileno())
            is_right = stream.digest() == file.digest
        if not is_right:
            part.unlink()
            raise FetchFailed(
                f"{file.path} of {file.repository} came with other bytes than the hub says ({file.digest[:12]}...); "
                "it was removed. Run the command again."
            )
        part.replace(target)
    except OSError as error:
        raise _told(error, target) from error


def digest_of(path: Path, digest: str) -> str:
    """Return the hash of the file at *path* of the same kind as *digest*: sha256, or git's blob id."""
    size = path.stat().st_size
    hashed = _new_hash(digest, size)
    with path.open("rb") as stream:
        while block := stream.read(_READ_BYTES):
            hashed.update(block)
    return str(hashed.hexdigest())


class _Hashed:
    """A file that hashes what is written to it; what huggingface_hub asks of a file, and no more."""

    def __init__(self, stream: BinaryIO, file: HubFile) -> None:
        self._stream = stream
        self._file = file
        self._hash = _new_hash(file.digest, file.size_bytes)
        if os.fstat(stream.fileno()).st_size > file.size_bytes:
            stream.truncate(0)
        stream.seek(0)
        while block := stream.read(_READ_BYTES):
            self._hash.update(block)

    def write(self, data: bytes) -> int:
        """Append *data*."""
        self._hash.update(data)
        return self._stream.write(data)

    def tell(self) -> int:
        """Return how many bytes are there."""
        return self._stream.tell()

    def seek(self, offset: int) -> int:
        """Go to *offset*; only 0 is asked, before `truncate`."""
        return self._stream.seek(offset)

    def truncate(self) -> int:
        """Begin again: the server answered a request for the rest with the whole."""
        self._hash = _new_hash(self._file.digest, self._file.size_bytes)
        return self._stream.truncate(0)

    def digest(self) -> str:
        """Return the hash of everything written."""
        return str(self._hash.hexdigest())


def _new_hash(digest: str, size_bytes: int) -> Any:
    """Return a fresh hash of the kind that *digest* is: git's blob id is a sha1 over a header and the bytes."""
    if len(digest) == _SHA256_DIGITS:
        return hashlib.sha256()
    return hashlib.sha1(b"blob %d\0" % size_bytes, usedforsecurity=False)


@contextlib.contextmanager
def _opened(part: Path) -> Iterator[BinaryIO]:
    """Open *part* for this process alone: two that append to one file make rubbish of it. Raises FetchFailed."""
    with part.open("r+b" if part.exists() else "x+b") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FetchFailed(f"Another fetch is writing {part}. Wait for it, or end it.") from error
        except OSError:  # a volume without locks: the hash finds what two of them do
            pass
        yield cast(BinaryIO, stream)


def _drop_older_parts(target: Path, part: Path) -> None:
    for path in target.parent.iterdir():
        if path.name.startswith(f"{target.name}.") and path.suffix == ".part" and path != part:
            path.unlink(missing_ok=True)


def _told(error: OSError, target: Path) -> Exception:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return DiskFull(
            f"No space left for {target.name} in {target.parent}; what has come is kept.",
            hint="Make room and run the command again: it goes on from there.",
        )
    return FetchFailed(f"{target} cannot be written: {error.strerror or error}.")
