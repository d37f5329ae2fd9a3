"""Whether the processes that own attempts live: the mark that ours keeps fresh, and the marks of others."""

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

#: Where the marks lie: one file a process, whatever number of jobs it has.
_FOLDER = "owners"

#: A look at a mark holds so long: a listing asks for the owner of every job.
_LOOK_HOLDS_S = 1.0

#: A look that took longer met a volume that stood still, for the owner as well: that time is no silence.
_STALL_S = 1.0

#: So many durations of its last beat an owner's silence may last longer: its disk is slow, not its process dead.
_SLOW_BEATS = 4

#: Remembered at most, of owners and of one owner's jobs; forgetting only puts a verdict off.
_REMEMBERED = 10_000

#: Call a function every so many seconds, until it returns False.
InBackground = Callable[[Callable[[], bool], float], None]


def in_thread(work: Callable[[], bool], every_s: float) -> None:
    """Call *work* every *every_s* seconds in a thread that keeps no process alive, until it returns False."""

    def run() -> None:
        while True:
            time.sleep(every_s)
            if not work():
                return

    threading.Thread(target=run, name="job-marks", daemon=True).start()


class OwnPulse:
    """
    Keep `owners/<process>` fresh while this process holds attempts, and call *also* at each beat.

    The mark is written over in place, which a full disk allows and which waits for no fsync. It holds what no two
    beats share, so that an observer needs no clock, and how long the last beat took, so that a slow disk is not
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
                self._is_beating = True
                # A weak one: the thread ends with the store that it serves.
                again = weakref.WeakMethod(self.beat)
                self._in_background(lambda: bool((beat := again()) and beat()), self._every_s)

    def let_go(self, owner: Owner) -> None:
        """Hold the attempt of *owner* no longer: it ended, or is another's."""
        with self._lock:
            self._held.pop(owner.token, None)

    def beat(self) -> bool:
        """Freshen the mark; False, with the mark gone, once nothing is held any more."""
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
        """Take the mark away, for a process that ends with nothing held."""
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
    """What was seen of a process: the last value by source (its mark, its records), and when one last changed."""

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

    On its own host the process itself is asked. Elsewhere it counts as dead once neither its mark nor a heartbeat of
    its records has changed for *dead_after_s* of this process's own *elapsed* time, between two own looks. No clock
    of another host is asked, and time in which the volume did not answer is not counted.
    """

    def __init__(self, disk: Disk, *, dead_after_s: float, elapsed: Callable[[], float]) -> None:
        self._disk = disk
        self._dead_after_s = dead_after_s
        self.elapsed = elapsed
        self._seen: dict[str, _Seen] = {}
        self._lock = threading.Lock()

    def has_died(self, job: Job, *, since: float) -> bool:
        """Judge the owner of *job*, whose record was read from *since* (of `elapsed`) on."""
        lives = job.owner.lives()
        return self._is_silent(job, since) if lives is None else not lives

    def bury(self, owner: Owner) -> None:
        """Take the mark of a process away that has died."""
        _remove(self._disk, owner.process)

    def bury_the_dead(self) -> None:
        """Take the marks of this host's dead processes away: a process that was killed leaves its own behind."""
        for process in self._disk.names(_FOLDER):
            owner = _named(self._disk.read(f"{_FOLDER}/{process}"))
            if owner is not None and owner.lives() is False:
                self.bury(owner)

    def _is_silent(self, job: Job, since: float) -> bool:
        with self._lock:
            if len(self._seen) > _REMEMBERED:
                self._seen.clear()
            seen = self._seen.setdefault(job.owner.process, _Seen(since))
            is_due = since - seen.looked_at >= _LOOK_HOLDS_S
        if is_due:
            self._look(job.owner, seen, since)
        with self._lock:
            seen.note(f"{job.request_id}.{job.attempt}", job.heartbeat_at, since)
        if since - seen.changed_at > seen.allowed_s and not is_due:
            # Nobody is called dead by an earlier look.
            self._look(job.owner, seen, since)
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
    except (ValueError, AttributeError, TypeError):  # caught between two halves of a write
        return 0.0


def _named(mark: bytes | None) -> Owner | None:
    try:
        told = json.loads(mark or b"")
        return Owner(**{name: told[name] for name in Owner.__dataclass_fields__})
    except (ValueError, KeyError, TypeError):
        return None


def _remove(disk: Disk, process: str) -> None:
    try:
        disk.remove(f"{_FOLDER}/{process}")
    except (DiskFull, EngineUnavailable) as error:
        _log.warning("the mark of a process could not be removed: %s", error)
