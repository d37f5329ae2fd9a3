"""Read the GPUs (from nvidia-smi, so that torch need not be loaded) and the memory of this machine."""

from __future__ import annotations

import functools
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from wanworker import process
from wanworker.errors import EngineUnavailable

_QUERY = "name,memory.total,compute_cap,driver_version"


@dataclass(frozen=True, slots=True)
class Gpu:
    """Describe one card. `memory_mib` is its total memory, `compute_capability` such as `12.0`."""

    name: str
    memory_mib: int
    compute_capability: str
    driver: str


def gpus_in(csv: str) -> tuple[Gpu, ...]:
    """Read nvidia-smi's answer (csv, no header, no units). Lines that describe no GPU are skipped. Pure."""
    found = []
    for line in csv.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) == 4 and parts[1].isdigit():
            found.append(Gpu(parts[0], int(parts[1]), parts[2], parts[3]))
    return tuple(found)


@functools.cache
def gpus() -> tuple[Gpu, ...]:
    """
    Return the visible GPUs, none if there is no driver. They are read once a process, because cards do not change.
    """
    from wanworker.settings import child_environment  # it imports pydantic, which --help need not wait for

    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    argv = [program, f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits"]
    try:
        answer = process.ask(argv, env=child_environment(), timeout_s=20)
    except (TimeoutError, EngineUnavailable):
        return ()
    return gpus_in("\n".join(answer.stdout)) if answer.code == 0 else ()


def available_memory_mib(root: Path = Path("/")) -> int | None:
    """
    Return the memory in MiB that this process may still take, or None if the system does not say (not Linux).

    A container sees its host's /proc/meminfo, but its own limit is in its control group (cgroup v2). *root* is the
    folder that holds both.
    """
    meminfo = root / "proc/meminfo"
    if not meminfo.is_file():
        return None
    lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
    of_machine = int(lines["MemAvailable"].split()[0]) // 1024 if "MemAvailable" in lines else None
    rooms = [room for room in (of_machine, _room_in_container_mib(root / "sys/fs/cgroup")) if room is not None]
    return min(rooms, default=None)


def _room_in_container_mib(group: Path) -> int | None:
    """Return the control group's limit minus its use, counting its page cache as free; None without a limit."""
    try:
        limit = (group / "memory.max").read_text().strip()
        used = int((group / "memory.current").read_text())
        cached = re.search(r"^inactive_file (\d+)$", (group / "memory.stat").read_text(), re.MULTILINE)
    except (OSError, ValueError):
        return None
    if not limit.isdigit():
        return None
    return max(0, int(limit) - used + (int(cached[1]) if cached else 0)) // 1024**2
