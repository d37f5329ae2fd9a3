"""
Download files of the hub in blocks over several connections, resume an earlier try, and verify each hash.

huggingface_hub's own `hf_hub_download` is not used for this. Since 1.12 it throws away what it has of a file when it is
interrupted (its issue 4196), and a file here may have 16 GB.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from wanworker.errors import DiskFull
from wanworker.models.hub.api import FetchFailed, HubFile

#: How many blocks are requested at once, of one or several files. A block stays in memory until those before it arrive.
CONNECTIONS = 6

_MIB = 1024**2
_READ_BYTES = 8 * _MIB
_SHA256_DIGITS = 64

#: A smaller file is requested whole. The hub compresses small text, and then it cannot send parts of it.
_WHOLE_BYTES = 16 * _MIB

#: Blocks grow along the file: small first ones show progress on a slow line, large later ones mean fewer requests.
_FIRST_BLOCK_BYTES, _LARGEST_BLOCK_BYTES = 4 * _MIB, 32 * _MIB


class Source(Protocol):
    """Define where the bytes of a file come from, for example a Hub."""

    def read(self, file: HubFile, start: int, end: int) -> bytes:
        """Return the bytes of *file* from *start* up to *end*. Several threads call this at once."""


def part_of(target: Path, file: HubFile) -> Path:
    """Return the path of the partial file of *target*. A file that changed on the hub has another one. Pure."""
    return target.with_name(f"{target.name}.{file.digest[:12]}.part")


def part_bytes(target: Path, file: HubFile) -> int:
    """Return how many bytes of *target* an earlier try left."""
    try:
        return min(part_of(target, file).stat().st_size, file.size_bytes)
    except OSError:
        return 0


def transfer(source: Source, wanted: Iterable[tuple[HubFile, Path]], count: Callable[[Path, int], None]) -> None:
    """
    Put each file of *wanted* at its target, complete and checked, or not at all. An existing file is replaced.

    Raises FetchFailed and DiskFull. When the connection breaks, the partial file stays and the next try resumes it;
    when its bytes are wrong, it is removed. *count* is called with a target and the number of bytes that arrived for
    it; bytes of an earlier try are not counted.
    """
    from multiprocessing.pool import ThreadPool  # its threads end with the process, even if a connection stalls

    with contextlib.ExitStack() as opened, ThreadPool(CONNECTIONS) as pool:
        asked: deque[tuple[_Block, Any]] = deque()
        for block in _blocks(wanted, opened):
            asked.append((block, pool.apply_async(_read, (source, block))))
            if len(asked) == CONNECTIONS:
                _take(*asked.popleft(), count)
        while asked:
            _take(*asked.popleft(), count)


def digest_of(path: Path, digest: str) -> str:
    """Return the hash of the file at *path* of the same kind as *digest*: sha256, or git's blob id."""
    size = path.stat().st_size
    hashed = _new_hash(digest, size)
    with path.open("rb") as stream:
        _feed(hashed, stream, size)
    return str(hashed.hexdigest())


class _Part:
    """Gather the bytes of one file from its start, and hash them as they arrive. Only this process may write them."""

    def __init__(self, file: HubFile, target: Path) -> None:
        self.file = file
        self.target = target
        self._path = part_of(target, file)
        self._hash = _new_hash(file.digest, file.size_bytes)
        with _told(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            _drop_older_parts(target, self._path)
            self._stream = self._path.open("r+b" if self._path.exists() else "x+b")
            self.size_bytes = self._locked_size()

    def append(self, data: bytes) -> None:
        """Add *data* at the end. Raises DiskFull, FetchFailed."""
        with _told(self.target):
            self._hash.update(data)
            self._stream.write(data)
            self._stream.flush()
        self.size_bytes += len(data)

    def finish(self) -> None:
        """Rename the part to the file if its bytes are the hub's, else remove it. Raises FetchFailed."""
        file = self.file
        with _told(self.target):
            os.fsync(self._stream.fileno())
            self.close()
            if self._hash.hexdigest() == file.digest:
                self._path.replace(self.target)
                return
            self._path.unlink()
        raise FetchFailed(
            f"{file.path} of {file.repository} did not arrive intact (the hub's hash: {file.digest[:12]}...); "
            "it was removed. Run the command again."
        )

    def close(self) -> None:
        """Keep what has arrived for the next try."""
        with contextlib.suppress(OSError):  # a full disk, which the write has already reported
            self._stream.close()

    def _locked_size(self) -> int:
        """
        Return the size of what an earlier try left, after hashing it.

        The file is locked, because two processes that append to it would spoil it.
        """
        try:
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.close()
            raise FetchFailed(f"Another fetch is writing {self._path}. Wait for it, or stop it.") from error
        except OSError:  # a volume without locks: the hash finds the damage of two writers
            pass
        size = os.fstat(self._stream.fileno()).st_size
        if size > self.file.size_bytes:
            self._stream.truncate(0)
            return 0
        _feed(self._hash, self._stream, size)
        return size


class _Block(NamedTuple):
    """Hold the bytes of a part from `start` up to `end`. It is empty if an earlier try left the whole file."""

    part: _Part
    start: int
    end: int


def _blocks(wanted: Iterable[tuple[HubFile, Path]], opened: contextlib.ExitStack) -> Iterator[_Block]:
    """Yield the missing blocks of each file in order, at least one block for each file. *opened* closes the parts."""
    for file, target in wanted:
        part = _Part(file, target)
        opened.callback(part.close)
        start = part.size_bytes
        while True:
            end = min(file.size_bytes, start + _block_bytes(file, start))
            yield _Block(part, start, end)
            if end == file.size_bytes:
                break
            start = end


def _block_bytes(file: HubFile, start: int) -> int:
    if file.size_bytes <= _WHOLE_BYTES:
        return _WHOLE_BYTES
    return min(_LARGEST_BLOCK_BYTES, max(_FIRST_BLOCK_BYTES, start // 4))


def _read(source: Source, block: _Block) -> bytes:
    return source.read(block.part.file, block.start, block.end) if block.end > block.start else b""


def _take(block: _Block, answer: Any, count: Callable[[Path, int], None]) -> None:
    """Wait for the bytes of *block*, the next one of its file, and write them."""
    count(block.part.target, 0)
    data: bytes = answer.get()
    block.part.append(data)
    count(block.part.target, len(data))
    if block.end == block.part.file.size_bytes:
        block.part.finish()


def _new_hash(digest: str, size_bytes: int) -> Any:
    """Return a fresh hash of the same kind as *digest*. Git's blob id is a sha1 over a header and the bytes."""
    if len(digest) == _SHA256_DIGITS:
        return hashlib.sha256()
    return hashlib.sha1(b"blob %d\0" % size_bytes, usedforsecurity=False)


def _feed(hashed: Any, stream: Any, size_bytes: int) -> None:
    while size_bytes > 0 and (block := stream.read(min(_READ_BYTES, size_bytes))):
        hashed.update(block)
        size_bytes -= len(block)


def _drop_older_parts(target: Path, part: Path) -> None:
    for path in target.parent.iterdir():
        if path.name.startswith(f"{target.name}.") and path.suffix == ".part" and path != part:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _told(target: Path) -> Iterator[None]:
    """Translate a disk error while *target* is written. Raises DiskFull, FetchFailed."""
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise FetchFailed(f"{target} cannot be written: {error.strerror or error}.") from error
        raise DiskFull(
            f"No space left for {target.name} in {target.parent}; what has arrived is kept.",
            hint="Free some space and run the command again: it resumes from there.",
        ) from error
