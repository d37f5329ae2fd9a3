"""Other workers on the volume: on another machine by name, or as real processes; and a clock to turn."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wanworker.jobs._owner import Owner
from wanworker.jobs.store.job_store import JobRequest, JobStore
from wanworker.settings import child_environment

_tokens = itertools.count(1)

#: 2026-11-21 00:00:00 UTC
MIDNIGHT = 1_795_219_200.0


@dataclass
class Clock:
    """A clock that stands still until a test turns it."""

    now: float = MIDNIGHT + 3600

    def __call__(self) -> float:
        return self.now


def elsewhere() -> Owner:
    """Describe a process on another machine, of which only the heartbeat can be seen from here."""
    return Owner(f"token-{next(_tokens)}", "another-host another-boot", "pid:[1]", 7, "12345")


def killed() -> Owner:
    """Describe a process of this host that is no more."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    here = Owner.of_this_process()
    return Owner(f"token-{next(_tokens)}", here.host, here.pid_namespace, process.pid, "1")


@contextmanager
def alive() -> Iterator[Callable[[], Owner]]:
    """Yield what describes another process of this host, which lives until the block ends."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        here = Owner.of_this_process()
        start = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19]
        yield lambda: Owner(f"token-{next(_tokens)}", here.host, here.pid_namespace, process.pid, start)
        process.kill()


class Beats:
    """What a store does in its background, done when a test says so."""

    def __init__(self) -> None:
        self._beats: list[Callable[[], bool]] = []

    def __call__(self, beat: Callable[[], bool], _every_s: float) -> None:
        self._beats.append(beat)

    @property
    def started(self) -> int:
        """How many times beating was begun."""
        return len(self._beats)

    def beat(self) -> bool:
        """Beat once; False when the store has nothing to beat for any more."""
        return self._beats[-1]()


def on_another_host(root: Path, clock: Clock | None = None, **arguments: Any) -> JobStore:
    """Return the store of such a process. Its time is *clock*'s, and its mark beats at a claim and never again."""
    clock = clock or Clock()
    fixed = {"owner": elsewhere, "clock": clock, "elapsed": clock, "in_background": lambda _beat, _every_s: None}
    return JobStore(root, **{**fixed, **arguments})


def request(request_id: str = "job-1", **fields: Any) -> JobRequest:
    """Return a request; keywords set any field."""
    return JobRequest(**{"request_id": request_id, "action": "generate", "spec_hash": "spec-a", **fields})


@contextmanager
def claimants(root: Path, ids: list[str], count: int) -> Iterator[list[Claimant]]:
    """Start *count* processes that are ready to claim *ids* in the store at *root*; all are gone at the end."""
    with ExitStack() as stack:
        found = [Claimant(root, ids) for _ in range(count)]
        for claimant in found:
            stack.callback(claimant.kill)
        for claimant in found:
            assert claimant.line() == "ready"
        yield found


class Claimant:
    """A process running claimant.py."""

    def __init__(self, root: Path, ids: list[str]) -> None:
        program = Path(__file__).with_name("claimant.py")
        self._process = subprocess.Popen(
            [sys.executable, program, root, *ids],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env=child_environment(),
        )

    def go(self) -> None:
        """Let it claim; it lives on afterwards, as the owner of what it got."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")

    def line(self) -> str:
        """Return its next line."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def claims(self) -> list[tuple[int, bool]]:
        """Return (attempt, is_ours) for each id."""
        return [(attempt, is_ours) for attempt, is_ours in json.loads(self.line())]

    def kill(self) -> None:
        """SIGKILL it and wait until it is gone."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
