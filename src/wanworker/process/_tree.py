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

#: Set in the environment of every run, to a value of its own.
MARK_VARIABLE = "WANWORKER_RUN"

_POLL_S = 0.02
#: SIGKILL works at once, save on a process inside a driver call; beyond this we say so and go on.
_KILL_PATIENCE_S = 30.0


async def end_all(leader: int, mark: str, *, grace_s: float) -> None:
    """
    End every process of the run: SIGTERM once, after *grace_s* seconds SIGKILL; return when none is left.

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
        for pid in left if killing else left - told:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL if killing else signal.SIGTERM)
        told |= left
        await asyncio.sleep(_POLL_S)
    _collect(told - {leader})


def _collect(pids: set[int]) -> None:
    """Reap orphans: they become ours where this worker is process 1 of a container, and nobody else would."""
    for pid in pids:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def members(leader: int, mark: str) -> set[int]:
    """
    Return the living processes of the run: those of its group, and those that carry its mark in their environment.

    The mark finds what started a session of its own, as torchrun does with its ranks, and orphans whose parents are
    gone. Zombies do not count: they hold nothing, and in a container without an init nobody may ever collect them.
    """
    if sys.platform != "linux":
        return _group(leader)
    wanted = f"{MARK_VARIABLE}={mark}".encode()
    found = (proc for proc in Path("/proc").iterdir() if proc.name.isdigit() and _belongs(proc, leader, wanted))
    return {int(proc.name) for proc in found}


def _belongs(proc: Path, leader: int, wanted: bytes) -> bool:
    try:
        # After the name in parentheses, which may hold anything: state, parent, group (proc_pid_stat(5)).
        state, _, group = (proc / "stat").read_bytes().rpartition(b")")[2].split()[:3]
        if state in {b"Z", b"X"}:
            return False
        return int(group) == leader or wanted in (proc / "environ").read_bytes().split(b"\0")
    except OSError:
        return False  # it ended meanwhile, or is another user's


def _group(leader: int) -> set[int]:
    """Return the group as one negative process id, which is how kill(2) addresses a group."""
    try:
        os.killpg(leader, 0)
    except (ProcessLookupError, PermissionError):
        return set()
    return {-leader}
