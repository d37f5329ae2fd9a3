"""
How fast the diffusers engine reads weights from a disk, and what its process costs until it can render.

    python bench/loading.py                     a file of 4 GB in the temporary folder
    python bench/loading.py --folder /volume    on another disk
    python bench/loading.py --gb 0.1 --runs 1   a small one
    python bench/loading.py --start src ../main/src --runs 5     the start of the process, from two trees in turn

A file of 4 GB is read against mmap, with the page cache dropped. `parallel` is what the engine does: four threads read
into one block of memory. `mmap` is safetensors' own way, the tensors copied out of the mapped file one after the other.
They take turns, and the medians are compared. `from_disk` is the share of the file that the system says it read from
the disk meanwhile: less than 1 where the cache was not dropped.

`--start` starts the resident child of each source tree in turn and has it load the miniature and render 64x64 pixels, 5
frames and 1 step. It tells the CPU seconds (user and system, which other work on the machine changes little) from the
start of the process to Ready and to the first decoded frame: the median of each tree, and the last one's over each.
Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests"), str(ROOT / "bench")]

import torch  # noqa: E402
from random_weights import Plan, write  # noqa: E402
from safetensors import safe_open  # noqa: E402

from wanworker.engines.resident import protocol  # noqa: E402
from wanworker.engines.resident.child.weights._reading import Copy, read_all  # noqa: E402
from wanworker.models.miniature.weights import miniature  # noqa: E402
from wanworker.models.sources.checkpoint import read_checkpoint  # noqa: E402

TENSOR_NUMBERS = 16 * 2**20


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gb", type=float, default=4.0)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--start", type=Path, nargs="+", metavar="SRC", help="source trees whose start is compared")
    args = parser.parse_args()
    found = starts(args.start, args.runs) if args.start else readings(args)
    print(json.dumps({"cpus": os.cpu_count(), "load": os.getloadavg()[0], **found}))


def readings(args: argparse.Namespace) -> dict[str, Any]:
    """Read a file in each way, in turn, and return the medians."""
    ways: dict[str, Callable[[Path], None]] = {"parallel": parallel, "mmap": mapped}
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory(prefix="loading-", dir=args.folder) as folder:
        path = file_of(Path(folder) / "weights.safetensors", args.gb)
        for _ in range(args.runs):
            for name, way in ways.items():
                runs[name].append(measured(way, path))
        size_bytes = path.stat().st_size
    found: dict[str, Any] = {"size_bytes": size_bytes}
    for name, rows in runs.items():
        seconds = statistics.median(row[0] for row in rows)
        found[name] = {
            "seconds": round(seconds, 2), "gb_s": round(size_bytes / seconds / 1e9, 2),
            "from_disk": round(min(row[1] for row in rows) / size_bytes, 2),
        }  # fmt: skip
    found["mmap_to_parallel"] = round(found["mmap"]["seconds"] / found["parallel"]["seconds"], 2)
    return found


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


def starts(trees: Sequence[Path], runs: int) -> dict[str, Any]:
    """Start a child of each tree in turn, *runs* times, and return the medians of their CPU seconds."""
    seconds: dict[str, list[dict[str, float]]] = {str(tree): [] for tree in trees}
    for _ in range(runs):
        for tree, rows in seconds.items():
            rows.append(start(Path(tree).resolve()))
    medians = {
        tree: {name: round(statistics.median(row[name] for row in rows), 2) for name in rows[0]}
        for tree, rows in seconds.items()
    }
    last = medians[str(trees[-1])]
    ratios = {tree: {name: round(row[name] / last[name], 2) for name in row} for tree, row in medians.items()}
    return {"cpu_s": medians, "to_the_last": ratios, "runs": seconds}


def start(tree: Path) -> dict[str, float]:
    """Return the CPU seconds of a new child of *tree* until it is ready, and until its first frame is decoded."""
    argv = [sys.executable, "-m", "wanworker.engines.resident.child"]
    environment = {**os.environ, "PYTHONPATH": str(tree), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    load = protocol.Load(protocol.Model(str(miniature().folder_of("t2v-A14B")), "cpu"))
    with (
        tempfile.TemporaryDirectory(prefix="start-") as folder,
        subprocess.Popen(
            argv, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as child,
    ):
        ready_s = cpu_s_at(child, load, lambda event: isinstance(event, protocol.Ready))
        frame_s = cpu_s_at(child, job(Path(folder)), is_first_frame)
        child.kill()
    return {"ready": ready_s, "first_frame": frame_s}


def job(folder: Path) -> protocol.Render:
    """Return the smallest job."""
    return protocol.Render(
        job=1, prompt="a red star moves to the right", width=64, height=64, frames=5, out_width=64, out_height=64,
        out_frames=5, fps=8.0, seed=7, steps=1, guidance=1.0, guidance_low=1.0, shift=5.0,
        out_path=str(folder / "clip.mp4"),
    )  # fmt: skip


def cpu_s_at(child: subprocess.Popen[bytes], command: protocol.Command, is_it: Callable[[Any], bool]) -> float:
    """Give the child a command, and return its CPU seconds so far at the event that is waited for."""
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(protocol.encode(command))
    child.stdin.flush()
    for line in child.stdout:
        if is_it(protocol.decode_event(line)):
            user, system = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
            return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
        if b'"failed"' in line:
            raise RuntimeError(line.decode())
    raise RuntimeError("the child has died")


def is_first_frame(event: protocol.Event) -> bool:
    """Say whether the event tells of a decoded frame."""
    return isinstance(event, protocol.Step) and event.stage == "decoding"


if __name__ == "__main__":
    main()
