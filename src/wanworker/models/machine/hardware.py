"""Read the GPUs (from nvidia-smi, so that torch need not be loaded) and the memory of this machine."""

from __future__ import annotations

import functools
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wanworker import process
from wanworker.errors import EngineUnavailable

_QUERY = "name,memory.total,compute_cap,driver_version,uuid"
_FREE_QUERY = "memory.free,uuid"
_USE_QUERY = "memory.used,temperature.gpu,utilization.gpu,uuid"


@dataclass(frozen=True, slots=True)
class Gpu:
    """Describe one card. `memory_mib` is its total memory, `compute_capability` such as `12.0`."""

    name: str
    memory_mib: int
    compute_capability: str
    driver: str


@dataclass(frozen=True, slots=True)
class GpuUse:
    """Hold what a card does at the moment. A figure that the driver does not tell is None."""

    used_mib: int | None
    temperature_c: int | None
    busy_percent: int | None


def gpus_in(csv: str, visible: str | None = None) -> tuple[Gpu, ...]:
    """
    Read nvidia-smi's answer (csv, no header, no units); lines that are no GPU are passed over. Pure.

    *visible* is CUDA_VISIBLE_DEVICES, None where it is not set: nvidia-smi lists the cards that it hides too.
    """
    rows = [row for row in _rows(csv) if len(row) in (4, 5) and row[1].isdigit()]
    return tuple(Gpu(row[0], int(row[1]), row[2], row[3]) for row in _visible(rows, visible))


def free_memory_in(csv: str, visible: str | None = None) -> int | None:
    """Return the free memory in MiB of the first card that is visible; None where none is, or it is not told. Pure."""
    rows = _visible([row for row in _rows(csv) if len(row) == 2], visible)
    return int(rows[0][0]) if rows and rows[0][0].isdigit() else None


def uses_in(csv: str, visible: str | None = None) -> tuple[GpuUse, ...]:
    """Read what each visible card does, in the order of `gpus_in`. Pure."""
    rows = _visible([row for row in _rows(csv) if len(row) == 4], visible)
    return tuple(GpuUse(*(int(cell) if cell.isdigit() else None for cell in row[:3])) for row in rows)


def _rows(csv: str) -> list[list[str]]:
    return [[part.strip() for part in line.split(",")] for line in csv.splitlines()]


def _visible(rows: list[list[str]], visible: str | None) -> list[list[str]]:
    """
    Return the *rows*, each of which ends with its card's UUID, that a program with CUDA_VISIBLE_DEVICES sees.

    As CUDA does, it stops at the first name that is no card. A part of a card (MIG) is in no row: the card counts.
    """
    if visible is None:
        return rows
    found: list[list[str]] = []
    for name in (part.strip() for part in visible.split(",")):
        if name.startswith("MIG-"):
            found += rows[len(found) : len(found) + 1]
            continue
        named = [row for number, row in enumerate(rows) if name == str(number) or _begins(row[-1], name)]
        if not named:
            break
        found.append(named[0])
    return found


def _begins(uuid: str, name: str) -> bool:
    """CUDA takes as much of a UUID as tells the cards apart."""
    return name.startswith("GPU-") and uuid.startswith(name)


@functools.cache
def gpus(visible: str | None = None) -> tuple[Gpu, ...]:
    """
    Return the GPUs that a child process sees; none without a driver. Asked once: cards do not come and go.

    *visible* is the CUDA_VISIBLE_DEVICES of that process, None for the worker's own.
    """
    return gpus_in(*_asked(_QUERY, visible))


def gpu_uses() -> tuple[GpuUse, ...]:
    """Return what each GPU that a child process sees does now; none without a driver."""
    return uses_in(*_asked(_USE_QUERY, None))


def free_gpu_memory_mib(visible: str | None = None) -> int | None:
    """Return the memory that is free now on the first GPU that a child process sees, in MiB; None if unknown."""
    return free_memory_in(*_asked(_FREE_QUERY, visible))


def _asked(query: str, visible: str | None) -> tuple[str, str | None]:
    """Return nvidia-smi's answer, empty where it gives none, and *visible*, by default the worker's own."""
    from wanworker.settings import child_environment  # pydantic: --help need not wait for it

    env = child_environment()
    visible = env.get("CUDA_VISIBLE_DEVICES") if visible is None else visible
    program = shutil.which("nvidia-smi")
    if program is None:
        return "", visible
    argv = [program, f"--query-gpu={query}", "--format=csv,noheader,nounits"]
    try:
        answer = process.ask(argv, env=env, timeout_s=20)
    except (TimeoutError, EngineUnavailable):
        return "", visible
    return ("\n".join(answer.stdout) if answer.code == 0 else ""), visible


def available_memory_mib(root: Path = Path("/")) -> int | None:
    """
    Return the memory in MiB that this process may still take, or None if the system does not say (not Linux).

    A container sees its host's /proc/meminfo; its own limit stands in its control group, of either version. *root* is
    where both folders are looked for.
    """
    meminfo = root / "proc/meminfo"
    if not meminfo.is_file():
        return None
    lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
    of_machine = int(lines["MemAvailable"].split()[0]) // 1024 if "MemAvailable" in lines else None
    groups = (_room_in_container_mib(root / folder, files) for folder, files in _CONTROL_GROUPS.items())
    return min((room for room in (of_machine, *groups) if room is not None), default=None)


#: Where a container's limit, its use, and in memory.stat its page cache stand: version 2 of control groups, and 1.
#: Files that were read twice are active: the system gives them up too, and MemAvailable counts them.
_CONTROL_GROUPS: Mapping[str, tuple[str, str, str]] = {
    "sys/fs/cgroup": ("memory.max", "memory.current", "(?:in)?active_file"),
    "sys/fs/cgroup/memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_(?:in)?active_file"),
}


def _room_in_container_mib(group: Path, files: tuple[str, str, str]) -> int | None:
    """Return limit less use of the control group, its page cache counted as free; None without a limit."""
    limit_name, used_name, cached_name = files
    try:
        limit = (group / limit_name).read_text().strip()
        used = int((group / used_name).read_text())
        cached = re.findall(rf"^{cached_name} (\d+)$", (group / "memory.stat").read_text(), re.MULTILINE)
    except (OSError, ValueError):
        return None
    if not limit.isdigit():
        return None
    return max(0, int(limit) - used + sum(map(int, cached))) // 1024**2


def own_memory_mib(pid: int, root: Path = Path("/")) -> int:
    """
    Return the memory in MiB that process *pid* alone keeps from others, 0 where the system does not say.

    The pages of files that it has mapped are not in it: they count as available already.
    """
    try:
        status = (root / f"proc/{pid}/status").read_text()
    except OSError:
        return 0
    return sum(int(size) for size in re.findall(r"^Rss(?:Anon|Shmem):\s+(\d+) kB$", status, re.MULTILINE)) // 1024
