"""
Run one program, adopt all that it leaves behind, and end that with it. A script: it imports nothing of ours.

Arguments: the worker's process id, the death signal, the seconds of grace, and the program's command. The kernel gives
a program's orphans to the nearest subreaper above them, which is this process. So no descendant escapes, whatever its
session or environment. When the worker dies, the program gets the death signal, and then all are killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
import time
from pathlib import Path

_SET_DEATH_SIGNAL, _SET_CHILD_SUBREAPER = 1, 36
_POLL_S = 0.02


def main() -> None:
    """Run the program, and end as it ends."""
    worker, death_signal, grace_s, *argv = sys.argv[1:]
    prctl = ctypes.CDLL(None).prctl
    prctl(_SET_CHILD_SUBREAPER, 1)
    signal.signal(signal.SIGUSR1, lambda *_: _worker_died(int(death_signal), float(grace_s)))
    prctl(_SET_DEATH_SIGNAL, int(signal.SIGUSR1))
    if os.getppid() != int(worker):
        sys.exit("the worker has ended")
    program = os.fork()
    if not program:
        _become(argv, prctl, int(death_signal))
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the worker signals every process; this one has to end last
    status = _wait_for(program)
    _end_descendants(signal.SIGTERM, float(grace_s))
    _end_as(os.waitstatus_to_exitcode(status))


def _become(argv: list[str], prctl: ctypes._NamedFuncPointer, death_signal: int) -> None:
    """Become the program, which dies with this process. Restore two signals that Python had changed."""
    prctl(_SET_DEATH_SIGNAL, death_signal)
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGUSR1):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - the command is the worker's
    except OSError as error:
        os.write(2, f"{argv[0]}: {error.strerror}\n".encode())
        os._exit(1)


def _wait_for(program: int) -> int:
    """Collect orphans until the program ends. Return its status."""
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == program:
            return status


def _worker_died(death_signal: int, grace_s: float) -> None:
    _end_descendants(death_signal, grace_s)
    os._exit(1)


def _end_descendants(number: int, grace_s: float) -> None:
    """Send signal *number* once to each descendant, and SIGKILL after *grace_s* seconds, until none is left."""
    kill_at = time.monotonic() + grace_s
    told: set[int] = set()
    while left := _descendants():
        killing = time.monotonic() >= kill_at
        for pid in left if killing else left - told:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL if killing else number)
        told |= left
        time.sleep(_POLL_S)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _descendants() -> set[int]:
    parents = {int(proc.name): _parent(proc) for proc in Path("/proc").iterdir() if proc.name.isdigit()}
    found: set[int] = set()
    fresh = {os.getpid()}
    while fresh := {pid for pid, parent in parents.items() if parent in fresh}:
        found |= fresh
    return found


def _parent(proc: Path) -> int | None:
    """Return the parent of a living process, or None for one that has ended."""
    try:
        # The name in parentheses may hold anything. State and parent follow it (proc_pid_stat(5)).
        state, parent = (proc / "stat").read_bytes().rpartition(b")")[2].split()[:2]
    except (OSError, ValueError):
        return None
    return None if state in {b"Z", b"X"} else int(parent)


def _end_as(code: int) -> None:
    """End with the program's code, or with the signal that ended it."""
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if -code not in {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


if __name__ == "__main__":
    main()
