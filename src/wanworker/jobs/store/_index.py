"""Keep the order in which jobs arrived, in one append-only file a day, and a shorter copy without deleted jobs."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from wanworker.errors import DiskFull, EngineUnavailable, InvalidRequest
from wanworker.jobs.model import Job
from wanworker.jobs.store.disk import Disk

_log = logging.getLogger(__name__)

#: Every entry has this many bytes, so a file's size gives their number. The longest id leaves 14 bytes spare.
ENTRY_BYTES = 128

#: How much is read at once: enough for a page of usual length.
_CHUNK_BYTES = 64 * ENTRY_BYTES
_LARGE_CHUNK_BYTES = 8192 * ENTRY_BYTES
_DAY_S = 86_400

#: A day's copy is rewritten once this many more of its jobs are deleted, or this share of the remaining ones. The cost
#: of rewriting grows with the remaining ones.
_DELETED = 64
_SHARE = 32

#: The approximate length of a line of the copy.
_KEPT_BYTES = 48
_FOLDER = "index"
_DAY_FILE = re.compile(r"(\d{4}-\d\d-\d\d)\.jsonl")
_ENTRY = re.compile(rb'\{"created_at":(\d+\.\d+),"request_id":"([A-Za-z0-9_-]{1,64})"\}')
_KEPT = re.compile(rb"(\d+) (\d+\.\d+) ([A-Za-z0-9_-]{1,64}) *")
_HEADER = re.compile(rb"\n(\d+) bytes in (\d+) *\n")
_CURSOR = re.compile(r"(\d{4}-\d\d-\d\d)\.(\d{1,15})")

#: A function that returns at most a number of bytes from an offset on.
Read = Callable[[int, int], bytes]


@dataclass(frozen=True, slots=True)
class Entry:
    """Hold one line: which job came when. A listing continues after `cursor`, which does not count in a comparison."""

    request_id: str
    created_at: float
    cursor: str = field(compare=False)


class Index:
    """
    Keep the days' files `index/2026-11-21.jsonl` (UTC), and beside each a `.gone` with one byte for every deleted job.

    An entry begins with its newline. So after an entry that a crash left half written, the next one still starts its
    own line. Lines that are not entries are skipped.

    Where many jobs were deleted, `.kept` is a copy of the first part of the day's file without them; its header says
    how many bytes that part has. The day's file itself only grows, so no entry that is just being added can be lost.
    The copy appears by a rename: after a crash the copy before is still valid, and of two processes that make one the
    later wins. If the copy still has a deleted job, the next listing notices. Entries keep their offsets, so cursors
    stay valid.
    """

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._deleted: dict[str, set[Entry]] = {}
        self._due: dict[str, int] = {}
        self._lock = threading.Lock()

    def add(self, job: Job) -> None:
        """Add a new job."""
        line = f'{{"created_at":{float(job.created_at)!r},"request_id":"{job.request_id}"}}'
        self._disk.append(f"{_FOLDER}/{_day(job.created_at)}.jsonl", b"\n" + line.encode().ljust(ENTRY_BYTES - 1))

    def forget(self, job: Job, *, now: float) -> None:
        """Count a job as deleted. If its day is over and all its jobs are deleted, remove the day's files."""
        day = _day(job.created_at)
        self._disk.append(f"{_FOLDER}/{day}.gone", b".")
        # Another host's clock may still be before midnight, so yesterday's files stay.
        if day < _day(now - _DAY_S) and not _count(self._disk.sizes(_FOLDER), day):
            for ending in ("kept", "jsonl", "gone"):
                self._disk.remove(f"{_FOLDER}/{day}.{ending}")
            return
        self.pass_over((Entry(job.request_id, float(job.created_at), ""),))

    def pass_over(self, entries: Iterable[Entry]) -> None:
        """Leave the *entries* of jobs without a record out of all later listings."""
        days: set[str] = set()
        with self._lock:
            for entry in entries:
                day = _day(entry.created_at)
                self._deleted.setdefault(day, set()).add(entry)
                days.add(day)
            for day in days:
                if len(self._deleted[day]) >= _DELETED and len(self._deleted[day]) >= self._due_of(day):
                    self._compact(day)

    def listing(self, cursor: str | None = None) -> tuple[int, Iterator[Entry]]:
        """
        Return how many jobs there are, by the sizes of the files alone, and the entries, newest first.

        Entries start after *cursor* if there is one. Entries of deleted jobs may be among them. Because files only
        grow, a cursor (a day and an offset) stays valid while new jobs arrive. Raises InvalidRequest.
        """
        start = _parsed(cursor) if cursor is not None else None
        sizes = self._disk.sizes(_FOLDER)
        return sum(_count(sizes, day) for day in _days(sizes)), self._entries(sizes, start)

    def _entries(self, sizes: dict[str, int], start: tuple[str, int] | None) -> Iterator[Entry]:
        for day in sorted(_days(sizes), reverse=True):
            end = sizes[f"{day}.jsonl"]
            if start is not None and day >= start[0]:
                end = min(start[1], end) if day == start[0] else 0
            if end:
                deleted = self._deleted.get(day, set())
                yield from (entry for entry in self._of_day(day, end) if entry not in deleted)

    def _of_day(self, day: str, end: int, chunk_bytes: int = _CHUNK_BYTES) -> Iterator[Entry]:
        """
        Yield the entries of a day that begin before *end*: first those after the copied part, then those of the copy.
        """
        # The file is opened once, because another process may replace the copy while we read.
        with self._disk.opened(f"{_FOLDER}/{day}.kept") as copy:
            covered, kept_bytes = _covered(copy(0, ENTRY_BYTES + 1))
            for offset, line in self._backwards(self._reading(day), covered, end, chunk_bytes):
                # A crash or another host's append may leave bytes behind an entry. The entry is still valid.
                if match := _ENTRY.match(line):
                    yield Entry(match[2].decode(), float(match[1]), f"{day}.{offset}")
            for _, line in self._backwards(copy, ENTRY_BYTES, kept_bytes, chunk_bytes):
                if (match := _KEPT.match(line)) and int(match[1]) < end:
                    yield Entry(match[3].decode(), float(match[2]), f"{day}.{int(match[1])}")

    def _reading(self, day: str) -> Read:
        """Return the function that reads the day's file."""
        return lambda start, size_bytes: self._disk.read(f"{_FOLDER}/{day}.jsonl", start, size_bytes) or b""

    def _backwards(self, read: Read, start: int, end: int, chunk_bytes: int) -> Iterator[tuple[int, bytes]]:
        """
        Yield (offset of its newline, text) of each line that begins at *start* or later and before *end*, last first.
        """
        while end > start:
            at = max(start, end - chunk_bytes)
            chunk = read(at, end - at)
            for offset, line in _lines(chunk):
                yield at + offset, line
            # The text before the first newline belongs to a line that begins in the chunk before.
            end = at + max(0, chunk.find(b"\n"))

    def _due_of(self, day: str) -> int:
        """Return how many deleted jobs make a new copy worth its cost."""
        if day not in self._due:
            covered, kept_bytes = _covered(self._disk.read(f"{_FOLDER}/{day}.kept", 0, ENTRY_BYTES + 1) or b"")
            added = max(0, self._disk.size(f"{_FOLDER}/{day}.jsonl") - covered) // ENTRY_BYTES
            self._due[day] = (kept_bytes // _KEPT_BYTES + added) // _SHARE
        return self._due[day]

    def _compact(self, day: str) -> None:
        """Write the day's copy again without the jobs that are known to be deleted. The caller holds the lock."""
        deleted = self._deleted[day]
        try:
            size_bytes = self._disk.size(f"{_FOLDER}/{day}.jsonl")
            last = next(self._backwards(self._reading(day), 0, size_bytes, _CHUNK_BYTES), None)
            if last is None:
                return
            # The last line may not be complete yet, so it is not copied.
            entries = [entry for entry in self._of_day(day, last[0], _LARGE_CHUNK_BYTES) if entry not in deleted]
            text = "".join([*map(_kept_line, reversed(entries)), "\n"])
            header = f"\n{last[0]} bytes in {len(text)}".ljust(ENTRY_BYTES)
            self._disk.replace(f"{_FOLDER}/{day}.kept", f"{header}{text}".encode())
        except (DiskFull, EngineUnavailable) as error:
            _log.warning("the index of %s could not be compacted: %s", day, error)
            self._due[day] = 2 * len(deleted)
            return
        self._due[day] = len(entries) // _SHARE
        # A new set is made because a listing may be reading the old one. The last line was not copied.
        self._deleted[day] = {entry for entry in deleted if (match := _ENTRY.match(last[1])) and _is(entry, match)}


def _covered(header: bytes) -> tuple[int, int]:
    """Return how many bytes of the day's file its copy covers, and the size of the copy; zeros without a copy."""
    match = _HEADER.match(header)
    return (int(match[1]), ENTRY_BYTES + int(match[2])) if match else (0, 0)


def _kept_line(entry: Entry) -> str:
    return f"\n{entry.cursor.rpartition('.')[2]} {entry.created_at!r} {entry.request_id}"


def _is(entry: Entry, match: re.Match[bytes]) -> bool:
    return (entry.request_id, entry.created_at) == (match[2].decode(), float(match[1]))


def _lines(chunk: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (offset of its newline, text) of each line that begins in *chunk*, the last one first."""
    end = len(chunk)
    while (newline := chunk.rfind(b"\n", 0, end)) >= 0:
        yield newline, chunk[newline + 1 : end]
        end = newline


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
