"""The order in which jobs arrived: one append-only file a day, read backwards."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from wanworker.errors import InvalidRequest
from wanworker.jobs.model import Job
from wanworker.jobs.store.disk import Disk

#: Every entry has this many bytes, so that a file's size tells how many there are. The longest id leaves 14 spare.
ENTRY_BYTES = 128

#: Read at once: enough for a page of usual length.
_CHUNK_BYTES = 64 * ENTRY_BYTES
_DAY_S = 86_400
_FOLDER = "index"
_DAY_FILE = re.compile(r"(\d{4}-\d\d-\d\d)\.jsonl")
_ENTRY = re.compile(rb'\{"created_at":(\d+\.\d+),"request_id":"([A-Za-z0-9_-]{1,64})"\}')
_CURSOR = re.compile(r"(\d{4}-\d\d-\d\d)\.(\d{1,15})")


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: which job came when; `cursor` continues a listing after it."""

    request_id: str
    created_at: float
    cursor: str


class Index:
    """
    The days' files `index/2026-11-21.jsonl` (UTC), and beside each a `.gone` with one byte for every job deleted.

    An entry begins with its newline: whatever a crash left half written, the next entry starts a line of its own. A
    line that is no entry is passed over.
    """

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def add(self, job: Job) -> None:
        """Enter a new job."""
        line = f'{{"created_at":{float(job.created_at)!r},"request_id":"{job.request_id}"}}'
        self._disk.append(f"{_FOLDER}/{_day(job.created_at)}.jsonl", b"\n" + line.encode().ljust(ENTRY_BYTES - 1))

    def forget(self, job: Job, *, now: float) -> None:
        """Count a job as deleted; a day that is over and wholly deleted goes with it."""
        day = _day(job.created_at)
        self._disk.append(f"{_FOLDER}/{day}.gone", b".")
        # Another host's clock may still be before midnight: yesterday is left alone.
        if day < _day(now - _DAY_S) and not _count(self._disk.sizes(_FOLDER), day):
            self._disk.remove(f"{_FOLDER}/{day}.jsonl")
            self._disk.remove(f"{_FOLDER}/{day}.gone")

    def listing(self, cursor: str | None = None) -> tuple[int, Iterator[Entry]]:
        """
        Return how many jobs there are, told from the sizes of the files alone, and the entries, newest first.

        Entries start after *cursor* where there is one, and include those of deleted jobs. Files only grow, so that
        a cursor (a day and an offset) holds while new jobs come. Raises InvalidRequest.
        """
        start = _parsed(cursor) if cursor is not None else None
        sizes = self._disk.sizes(_FOLDER)
        return sum(_count(sizes, day) for day in _days(sizes)), self._entries(sizes, start)

    def _entries(self, sizes: dict[str, int], start: tuple[str, int] | None) -> Iterator[Entry]:
        for day in sorted(_days(sizes), reverse=True):
            size_bytes = sizes[f"{day}.jsonl"]
            if start is None or day < start[0]:
                yield from self._backwards(day, size_bytes)
            elif day == start[0]:
                yield from self._backwards(day, min(start[1], size_bytes))

    def _backwards(self, day: str, end: int) -> Iterator[Entry]:
        while end > 0:
            start = max(0, end - _CHUNK_BYTES)
            chunk = self._disk.read(f"{_FOLDER}/{day}.jsonl", start, end - start) or b""
            first = chunk.find(b"\n")
            for offset, line in _lines(chunk):
                entry = _entry(line, f"{day}.{start + offset}")
                if entry is not None:
                    yield entry
            # What precedes the first newline is the end of a line that begins in the chunk before.
            end = start + max(0, first)


def _lines(chunk: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (offset of its newline, text) of each line that begins in *chunk*, the last one first."""
    end = len(chunk)
    while (newline := chunk.rfind(b"\n", 0, end)) >= 0:
        yield newline, chunk[newline + 1 : end]
        end = newline


def _entry(line: bytes, cursor: str) -> Entry | None:
    # Whatever a crash or another host's append left behind a whole entry does not make it less whole.
    match = _ENTRY.match(line)
    return Entry(match[2].decode(), float(match[1]), cursor) if match else None


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")


def _days(sizes: dict[str, int]) -> list[str]:
    return [match[1] for name in sizes if (match := _DAY_FILE.fullmatch(name))]


def _count(sizes: dict[str, int], day: str) -> int:
    return max(0, sizes.get(f"{day}.jsonl", 0) // ENTRY_BYTES - sizes.get(f"{day}.gone", 0))


def _parsed(cursor: str) -> tuple[str, int]:
    match = _CURSOR.fullmatch(cursor)
    if match is None:
        message = f"cursor must be the next_cursor of an earlier listing; got {cursor[:40]!r}."
        raise InvalidRequest(message, field="cursor")
    return match[1], int(match[2])
