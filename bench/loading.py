"""
How fast the diffusers engine reads weights from a disk, against mmap: a file of 4 GB, with the page cache dropped.

    python bench/loading.py                     a file of 4 GB in the temporary folder
    python bench/loading.py --folder /volume    on another disk
    python bench/loading.py --gb 0.1 --runs 1   a small one

`parallel` is what the engine does: four threads read into one block of memory. `mmap` is safetensors' own way, the
tensors copied out of the mapped file one after the other. They take turns, and the medians are compared. `from_disk` is
the share of the file that the system says it read from the disk meanwhile: less than 1 where the cache was not dropped.
Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests"), str(ROOT / "bench")]

import torch  # noqa: E402
from random_weights import Plan, write  # noqa: E402
from safetensors import safe_open  # noqa: E402

from wanworker.engines.resident.child.weights._reading import Copy, read_all  # noqa: E402
from wanworker.models.sources.checkpoint import read_checkpoint  # noqa: E402

TENSOR_NUMBERS = 16 * 2**20


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gb", type=float, default=4.0)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()
    ways: dict[str, Callable[[Path], None]] = {"parallel": parallel, "mmap": mapped}
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory(prefix="loading-", dir=args.folder) as folder:
        path = file_of(Path(folder) / "weights.safetensors", args.gb)
        for _ in range(args.runs):
            for name, way in ways.items():
                runs[name].append(measured(way, path))
        size_bytes = path.stat().st_size
    found: dict[str, Any] = {"size_bytes": size_bytes, "cpus": os.cpu_count(), "load": os.getloadavg()[0]}
    for name, rows in runs.items():
        seconds = statistics.median(row[0] for row in rows)
        found[name] = {
            "seconds": round(seconds, 2), "gb_s": round(size_bytes / seconds / 1e9, 2),
            "from_disk": round(min(row[1] for row in rows) / size_bytes, 2),
        }  # fmt: skip
    found["mmap_to_parallel"] = round(found["mmap"]["seconds"] / found["parallel"]["seconds"], 2)
    print(json.dumps(found))


def file_of(path: Path, gb: float) -> Path:
    """Write tensors of 32 MB, as many as make *gb* GB, and have them on the disk."""
    count = max(1, round(gb * 1e9 / (2 * TENSOR_NUMBERS)))
    plan: Plan = {f"blocks.{number}.weight": ("BF16", (4096, TENSOR_NUMBERS // 4096), 1.0) for number in range(count)}
    write(path, plan, {}, b"")
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return path


def measured(way: Callable[[Path], None], path: Path) -> tuple[float, float]:
    """Return the seconds of one reading with nothing of the file in memory, and the bytes that came from the disk."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    before, started = disk_bytes(), time.perf_counter()
    way(path)
    return time.perf_counter() - started, disk_bytes() - before


def parallel(path: Path) -> None:
    """Read as the engine does."""
    tensors = read_checkpoint(path).tensors
    block = torch.empty(sum(tensor.size_bytes for tensor in tensors.values()), dtype=torch.uint8)
    copies, at = [], 0
    for tensor in tensors.values():
        target = block[at : at + tensor.size_bytes].view(torch.bfloat16).view(tensor.shape)
        copies.append(Copy(tensor, target))
        at += tensor.size_bytes
    read_all(copies, lambda _size_bytes: None)


def mapped(path: Path) -> None:
    """Copy each tensor out of the mapped file; all of them stay, as a model's do."""
    with safe_open(path, framework="pt") as file:
        kept = [file.get_tensor(name).clone() for name in file.keys()]  # noqa: SIM118 - it is no mapping
    del kept


def disk_bytes() -> int:
    """Return what this process has had read from disks."""
    return int(Path("/proc/self/io").read_text().partition("read_bytes: ")[2].split()[0])


if __name__ == "__main__":
    main()
