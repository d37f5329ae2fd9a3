"""Find and end all processes of one run."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from pathlib import Path

log = logging.getLogger(__name__)

#: The environment variable that marks every run with its own value.
MARK_VARIABLE = "WANWORKER_RUN"

_POLL_S = 0.02
#: SIGKILL works at once, except on a process inside a driver call. After this many seconds we log that and go on.
_KILL_PATIENCE_S = 30.0


async def end_all(leader: int, mark: str, *, grace_s: float) -> None:
    """
    End every process of the run: SIGTERM once, SIGKILL after *grace_s* seconds. Return when none is left.

    *leader* is the process group (and the process id) that the run began with, *mark* its value of MARK_VARIABLE.
    """
    clock = asyncio.get_running_loop().time
    kill_at = clock() + grace_s
    told: set[int] = set()
    while left := members(leader, mark):
        if clock() > kill_at + _KILL_PATIENCE_S:
            log.error("processes %s do not end, not even by SIGKILL; a driver may hold them", sorted(left))
            break
        killing = clock() >= kill_at
        # The guardian goes last, by itself: while it lives, what loses its parent becomes its child.
        others = left - {leader} or left
        for pid in others if killing else others - told:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL if killing else signal.SIGTERM)
        told |= others
        await asyncio.sleep(_POLL_S)
    _collect(told - {leader})


def _collect(pids: set[int]) -> None:
    """Collect orphans. They become our children if this worker is process 1 of a container."""
    for pid in pids:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def members(leader: int, mark: str) -> set[int]:
    """
    Return the living processes of the run: the leader's descendants, its group, and those with its mark.

    The mark, in the environment, finds processes that another process adopted after the leader was killed. Zombies do
    not count: they hold nothing, and in a container without an init they may stay for ever.
    """
    if sys.platform != "linux":
        return _group(leader)
    wanted = f"{MARK_VARIABLE}={mark}".encode()
    living = {int(proc.name): stat for proc in Path("/proc").iterdir() if proc.name.isdigit() and (stat := _stat(proc))}
    found = {pid for pid, (_, group) in living.items() if group == leader or _is_marked(pid, wanted)}
    fresh = {leader}
    while fresh := {pid for pid, (parent, _) in living.items() if parent in fresh}:
        found |= fresh
    return found


def _stat(proc: Path) -> tuple[int, int] | None:
    """Return the parent and the group of a living process."""
    try:
        # After the name in parentheses, which may hold anything: state, parent, group (proc_pid_stat(5)).
        state, parent, group = (proc / "stat").read_bytes().rpartition(b")")[2].split()[:3]
    except (OSError, ValueError):
        return None  # it ended meanwhile
    return None if state in {b"Z", b"X"} else (int(parent), int(group))


def _is_marked(pid: int, wanted: bytes) -> bool:
    try:
        return wanted in Path("/proc", str(pid), "environ").read_bytes().split(b"\0")
    except OSError:
        return False  # it ended meanwhile, or is another user's


def _group(leader: int) -> set[int]:
    """Return the group as a negative process id, as kill(2) expects it."""
    try:
        os.killpg(leader, 0)
    except (ProcessLookupError, PermissionError):
        return set()
    return {-leader}
