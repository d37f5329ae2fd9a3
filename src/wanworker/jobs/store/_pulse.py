"""Tell whether the processes that own attempts live: keep our own mark fresh, and watch the marks of others."""

from __future__ import annotations

import json
import logging
import secrets
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from wanworker.errors import DiskFull, EngineUnavailable
from wanworker.jobs._owner import Owner
from wanworker.jobs.model import Job
from wanworker.jobs.store.disk import Disk

_log = logging.getLogger(__name__)

#: The folder of the marks. A process has one file, however many jobs it has.
_FOLDER = "owners"

#: A mark that was read stays valid this long, because a listing asks for the owner of every job.
_LOOK_HOLDS_S = 1.0

#: If reading a mark took longer, the volume did not answer, for the owner as well. That time does not count as silence.
_STALL_S = 1.0

#: An owner may be silent longer by this multiple of its last beat's duration, because its disk may only be slow.
_SLOW_BEATS = 4

#: How many owners, and jobs of one owner, are remembered. Forgetting one only delays the verdict.
_REMEMBERED = 10_000

#: A function that calls another one every given number of seconds until that returns False.
InBackground = Callable[[Callable[[], bool], float], None]


def in_thread(work: Callable[[], bool], every_s: float) -> None:
    """Call *work* every *every_s* seconds in a daemon thread, until it returns False."""

    def run() -> None:
        while True:
            time.sleep(every_s)
            if not work():
                return

    threading.Thread(target=run, name="job-marks", daemon=True).start()


class OwnPulse:
    """
    Keep `owners/<process>` fresh while this process holds attempts, and call *also* at each beat.

    The mark is overwritten in place, without fsync; this works on a full disk. Each beat writes a value that no other
    beat has, so an observer needs no clock. It also writes how long the last beat took, so that a slow disk is not
    taken for a dead process.
    """

    def __init__(
        self,
        disk: Disk,
        *,
        every_s: float,
        elapsed: Callable[[], float],
        in_background: InBackground,
        also: Callable[[], None],
    ) -> None:
        self._disk = disk
        self._every_s = every_s
        self._elapsed = elapsed
        self._in_background = in_background
        self._also = also
        self._held: dict[str, Owner] = {}
        self._marked: dict[str, Owner] = {}
        self._took_s = 0.0
        self._is_beating = False
        self._lock = threading.Lock()

    def hold(self, owner: Owner) -> None:
        """Show from now on that the process of *owner* lives. Raises DiskFull and EngineUnavailable."""
        with self._lock:
            if owner.process not in self._marked:
                self._touch(owner)
            self._held[owner.token] = owner
            if not self._is_beating:
                # A weak reference, so that the thread ends together with the store that it serves.
                again = weakref.WeakMethod(self.beat)
                self._in_background(lambda: bool((beat := again()) and beat()), self._every_s)
                self._is_beating = True  # only now: a system without a thread to spare has one for the next job

    def let_go(self, owner: Owner) -> None:
        """Stop holding the attempt of *owner*: it ended, or another process has it."""
        with self._lock:
            self._held.pop(owner.token, None)

    def beat(self) -> bool:
        """Freshen the mark. Once nothing is held any more, remove the mark and return False."""
        with self._lock:
            if not self._held:
                self._stop()
                return False
            for owner in {owner.process: owner for owner in self._held.values()}.values():
                try:
                    self._touch(owner)
                except (DiskFull, EngineUnavailable) as error:
                    _log.warning("the mark of this process was not written: %s", error)
        self._also()
        return True

    def close(self) -> None:
        """Remove the mark of a process that ends and holds nothing."""
        with self._lock:
            if not self._held:
                self._stop()

    def _stop(self) -> None:
        self._is_beating = False
        for process in self._marked:
            _remove(self._disk, process)
        self._marked = {}

    def _touch(self, owner: Owner) -> None:
        started = self._elapsed()
        mark = {
            "beat": secrets.token_hex(8),
            "took_s": f"{min(self._took_s, 9e5):010.3f}",
            **asdict(owner),
            "token": "",
        }
        self._disk.overwrite(f"{_FOLDER}/{owner.process}", json.dumps(mark).encode())
        self._took_s = self._elapsed() - started
        self._marked[owner.process] = owner


@dataclass(slots=True)
class _Seen:
    """
    Hold what was seen of a process: the last value of each source (its mark, its records), and when one last changed.
    """

    changed_at: float
    looked_at: float = float("-inf")
    allowed_s: float = 0.0
    values: dict[str, object] = field(default_factory=dict)

    def note(self, source: str, value: object, at: float) -> None:
        if len(self.values) > _REMEMBERED:
            self.values.clear()
            self.changed_at = at
        before = self.values.get(source, value)
        if value is not None and before != value:
            self.changed_at = at
        if value is not None or source not in self.values:
            self.values[source] = value


class Observer:
    """
    Judge whether the owner of an attempt has died.

    On its own host the process itself is asked. An owner elsewhere counts as dead when neither its mark nor a heartbeat
    in its records has changed for *dead_after_s* seconds of this process's own *elapsed* time, between two reads of its
    own. No clocks of different hosts are compared, and time in which the volume did not answer does not count.
    """

    def __init__(self, disk: Disk, *, dead_after_s: float, elapsed: Callable[[], float]) -> None:
        self._disk = disk
        self._dead_after_s = dead_after_s
        self.elapsed = elapsed
        self._seen: dict[str, _Seen] = {}
        self._lock = threading.Lock()

    def has_died(self, job: Job, *, since: float) -> bool:
        """Say whether the owner of *job* has died. The record was read at or after *since*, a time of `elapsed`."""
        return self.is_gone(job.owner, since=since, beat=(f"{job.request_id}.{job.attempt}", job.heartbeat_at))

    def is_gone(self, owner: Owner, *, since: float, beat: tuple[str, object] | None = None) -> bool:
        """Say whether the process of *owner* has died, with a *beat* that it is known by beside its mark."""
        lives = owner.lives()
        return self._is_silent(owner, since, beat) if lives is None else not lives

    def bury(self, owner: Owner) -> None:
        """Remove the mark of a process that has died."""
        _remove(self._disk, owner.process)

    def bury_the_dead(self) -> None:
        """Remove the marks of this host's dead processes. A process that was killed leaves its mark behind."""
        for process in self._disk.names(_FOLDER):
            owner = Owner.named_in(self._disk.read(f"{_FOLDER}/{process}"))
            if owner is not None and owner.lives() is False:
                self.bury(owner)

    def _is_silent(self, owner: Owner, since: float, beat: tuple[str, object] | None) -> bool:
        with self._lock:
            if len(self._seen) > _REMEMBERED:
                self._seen.clear()
            seen = self._seen.setdefault(owner.process, _Seen(since))
            is_due = since - seen.looked_at >= _LOOK_HOLDS_S
        if is_due:
            self._look(owner, seen, since)
        if beat is not None:
            with self._lock:
                seen.note(*beat, since)
        if since - seen.changed_at > seen.allowed_s and not is_due:
            # An older value says nothing about whether the owner is alive now.
            self._look(owner, seen, since)
        return since - seen.changed_at > seen.allowed_s

    def _look(self, owner: Owner, seen: _Seen, since: float) -> None:
        mark = self._disk.read(f"{_FOLDER}/{owner.process}")
        with self._lock:
            seen.looked_at = since
            seen.allowed_s = self._dead_after_s + _SLOW_BEATS * _took_s(mark)
            seen.note("mark", mark, since)
            took_s = self.elapsed() - since
            seen.changed_at += took_s if took_s > _STALL_S else 0.0


def _took_s(mark: bytes | None) -> float:
    try:
        return float(json.loads(mark or b"{}").get("took_s", 0.0))
    except (ValueError, AttributeError, TypeError):  # read in the middle of a write
        return 0.0


def _remove(disk: Disk, process: str) -> None:
    try:
        disk.remove(f"{_FOLDER}/{process}")
    except (DiskFull, EngineUnavailable) as error:
        _log.warning("the mark of a process could not be removed: %s", error)
