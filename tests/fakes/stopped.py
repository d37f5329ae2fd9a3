"""Stop a process for real: SIGSTOP returns before the threads have stopped, and one of them might still answer."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

_LONGEST_S = 30.0


def stop(pid: int) -> None:
    """Send SIGSTOP and return once each thread of the process stands still."""
    os.kill(pid, signal.SIGSTOP)
    give_up = time.monotonic() + _LONGEST_S
    while not all(_stands_still(task) for task in Path(f"/proc/{pid}/task").iterdir()):
        assert time.monotonic() < give_up, f"process {pid} did not stop"
        time.sleep(0.005)


def _stands_still(task: Path) -> bool:
    try:
        return (task / "stat").read_text().rpartition(")")[2].split()[0] in {"T", "t", "Z", "X"}
    except FileNotFoundError:
        return True
