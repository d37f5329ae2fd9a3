"""
Faults inside a door's own process: it is killed at one place in its code, its clock is ahead, its disk is slow.

Python imports a `sitecustomize` from PYTHONPATH, which a door hands on to nothing that it must not reach: only the
process whose command line is a door's acts on it. Nothing in src knows of this; what is hooked are Python's own audit
events, which tell of each open and rename before it happens.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fakes.gate import leak_with_each_job

_TESTS = Path(__file__).resolve().parents[1]
_DOORS = ("handler.py", "wanworker.rest")
_CHILD = "wanworker.engines.resident.child"


@dataclass(frozen=True, slots=True)
class Place:
    """An audit event, such as `open` or `os.link`, whose path (of two, the new one) contains a text."""

    event: str
    contains: str


@dataclass(frozen=True, slots=True)
class Injection:
    """
    What happens to a door's process.

    It is killed just before the last of *kill_at*, once the others have happened in their order. Its clock is
    *clock_ahead_s* ahead; each fsync takes *fsync_s* longer; *available_mib* is what the system says is left of its
    memory. The resident child that it starts begins by writing *garbage_bytes* of no protocol and no encoding to both
    of its outputs, and keeps *leak_mib* more with each job.
    """

    kill_at: tuple[Place, ...] = ()
    clock_ahead_s: float = 0.0
    fsync_s: float = 0.0
    garbage_bytes: int = 0
    leak_mib: int = 0
    available_mib: int = 0

    def install(self, folder: Path) -> str:
        """Write the sitecustomize into *folder* and return the folder, which belongs on PYTHONPATH."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "plan.json").write_text(json.dumps(asdict(self)))
        (folder / "sitecustomize.py").write_text(
            f"import sys\nsys.path.append({str(_TESTS)!r})\n"
            f"from faults import injections\ninjections.begin({str(folder)!r})\n"
        )
        return str(folder)

    @staticmethod
    def remove(folder: Path) -> None:
        """Let the next process that starts with *folder* be a healthy one."""
        (folder / "plan.json").unlink(missing_ok=True)


def begin(folder: str) -> None:
    """Do in this process what the plan of *folder* says, if it is a door's process and there is a plan."""
    plan = Path(folder) / "plan.json"
    if not plan.exists():
        return
    wanted = json.loads(plan.read_text())
    if _CHILD in sys.orig_argv:
        _write_garbage(wanted["garbage_bytes"])
        if wanted["leak_mib"]:
            leak_with_each_job(wanted["leak_mib"])
    if not any(word.endswith(_DOORS) for word in sys.orig_argv[1:3]):
        return
    if wanted["kill_at"]:
        sys.addaudithook(_Killer([Place(**each) for each in wanted["kill_at"]]))
    if wanted["clock_ahead_s"]:
        _set_ahead(wanted["clock_ahead_s"])
    if wanted["fsync_s"]:
        _slow_down(wanted["fsync_s"])
    if wanted["available_mib"]:
        _say_available(wanted["available_mib"])


class _Killer:
    """Kill this process, and nothing else, at the last of some places."""

    def __init__(self, places: Sequence[Place]) -> None:
        self._left = list(places)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._left or event != self._left[0].event:
            return
        path = arguments[1] if event in {"os.link", "os.rename"} else arguments[0]
        if self._left[0].contains not in str(path):
            return
        self._left.pop(0)
        if not self._left:
            os.kill(os.getpid(), signal.SIGKILL)


def _set_ahead(seconds: float) -> None:
    real = time.time

    def ahead() -> float:
        return real() + seconds

    time.time = ahead


def _slow_down(seconds: float) -> None:
    real = os.fsync

    def slow(descriptor: Any) -> None:
        time.sleep(seconds)
        real(descriptor)

    os.fsync = slow


def _say_available(size_mib: int) -> None:
    real = Path.read_text

    def told(self: Path, *given: Any, **named: Any) -> str:
        text = real(self, *given, **named)
        return re.sub(r"(?<=MemAvailable:) +\d+", f" {size_mib * 1024}", text) if str(self) == "/proc/meminfo" else text

    Path.read_text = told  # type: ignore[method-assign,assignment]


def _write_garbage(size_bytes: int) -> None:
    whole = bytes(range(256)) * (size_bytes // 256)
    for descriptor in (1, 2):
        left = whole
        while left:
            left = left[os.write(descriptor, left) :]
