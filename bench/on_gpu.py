"""
What a machine without a GPU cannot show, within ten minutes, as one JSON file. on_gpu.sh starts this.

Each part is a program of this folder with a time limit of its own. A part that fails or is cut off does not stop the
rest: the file says what became of it. It is written anew every few seconds, with what the part that runs has told so
far, so whoever ends this program has all that is known. What does not fit into the time is left out.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

BENCH = Path(__file__).resolve().parent
LIMIT_S = 585.0
LAST_WORDS = 2000
POLL_S = 3.0

#: What the parts import and a machine with torch may lack; the worker wants imageio-ffmpeg even beside an ffmpeg.
NEEDED = (
    "torch", "diffusers", "transformers", "tokenizers", "safetensors", "huggingface_hub", "pydantic", "ftfy",
    "imageio_ffmpeg", "aiohttp", "PIL", "numpy", "prometheus_client", "psutil",
)  # fmt: skip

#: The disk that the random weights of a model take.
WEIGHTS_BYTES = {"5b": 25e9, "a14b": 22e9}


@dataclasses.dataclass(frozen=True)
class Part:
    """
    One program with its arguments, and the seconds that it may take; it writes its figures to `--out FILE`.

    `weights` names the folder of random weights that it writes or finds.
    """

    name: str
    limit_s: float
    argv: Sequence[str]
    weights: str | None = None


def parts_for(weights: Path, *, small: bool) -> list[Part]:
    """Return the parts, the most wanted first. What the first one of a model has written, the later ones find."""
    kind = "small" if small else "released"
    own = ("--weights", kind, "--folder")
    tiny = ("--weights", "small", "--task", "t2v-A14B", "--form", "fp8_scaled", "--share", "--steps", "2")
    fastwan = (*own, str(weights / "5b"), "--task", "ti2v-5B", "--form", "bf16", "--steps", "3")
    a14b = (*own, str(weights / "a14b"), "--task", "t2v-A14B", "--form", "fp8_scaled", "--share", "--steps", "4")
    clips = {"5b": ("1280*704", 121), "a14b": ("832*480 1280*720", 81), "short": ("832*480", 17)}
    if small:
        clips = dict.fromkeys(clips, ("64*64", 5))
    size = {name: ("--size", *sizes.split(), "--frames", str(frames)) for name, (sizes, frames) in clips.items()}
    both = ("--profiles", "exact,fast")
    placements = ("placements.py", str(weights / "a14b"), "--task", "t2v-A14B", *size["short"])
    of_5b = ("placements.py", str(weights / "5b"), "--task", "ti2v-5B", *size["short"])
    parts = [
        # The first one imports everything from a cold disk, and shows at once whether a render works at all.
        Part("small_model", 120, ("render.py", *tiny, *both)),
        Part("gemm", 60, ("gemm.py", *(["--small"] if small else []))),
        Part("fastwan_720p121_3_steps", 170, ("render.py", *fastwan, *size["5b"], *both), "5b"),
        Part("a14b_4_steps", 300, ("render.py", *a14b, *size["a14b"], *both, "--runs", "1"), "a14b"),
        Part("placements_a14b", 150, placements, "a14b"),
        Part("placements_5b", 90, of_5b, "5b"),
    ]
    # A small part takes seconds; a machine that does other work as well may need minutes to import torch.
    return [dataclasses.replace(part, limit_s=part.limit_s * (4 if small else 1)) for part in parts]


def main() -> None:
    """Run the parts and write the file."""
    args = arguments()
    started = time.monotonic()
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))  # what was started is ended, too
    with tempfile.TemporaryDirectory(prefix="on-gpu-") as scratch:
        environment = environment_with(args.wheels, Path(scratch) / "site")
        weights = args.weights or Path(scratch) / "weights"
        weights.mkdir(parents=True, exist_ok=True)
        parts = json_parts(args.parts) if args.parts else parts_for(weights, small=args.small)
        file = FiguresFile(args.out, machine(weights, environment))
        for part in parts:
            if part.weights and not args.small:
                make_room(weights, part.weights, shutil.disk_usage(weights).free)
            file.note(part.name, run(part, Path(scratch), environment, started + args.limit_s - time.monotonic(), file))
            print(f"{part.name}: {file.became(part.name)}", flush=True)
    print(args.out)
    if any(file.became(part.name) != "done" for part in parts):
        raise SystemExit(1)


class FiguresFile:
    """The file that is written: the machine, and what became of each part. It is whole at any moment."""

    def __init__(self, path: Path, machine: dict[str, Any]) -> None:
        self._path = path
        self._whole: dict[str, Any] = {**machine, "parts": {}}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._write()

    def note(self, name: str, result: dict[str, Any]) -> None:
        """Write what is known of the part *name*."""
        self._whole["parts"][name] = result
        self._write()

    def became(self, name: str) -> str:
        """Return what became of the part *name*."""
        return str(self._whole["parts"][name]["became"])

    def _write(self) -> None:
        beside = self._path.with_name(f"{self._path.name}.part")
        beside.write_text(json.dumps(self._whole, indent=1) + "\n")
        beside.replace(self._path)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="small models, on any machine")
    parser.add_argument("--out", type=Path, default=Path("on_gpu.json"))
    parser.add_argument("--wheels", type=Path, help="a folder of wheels with the packages that are missing")
    parser.add_argument("--weights", type=Path, help="where random weights are kept; 45 GB for the released sizes")
    parser.add_argument("--limit-s", type=float, default=LIMIT_S, help="for all parts together")
    parser.add_argument("--parts", type=Path, help="a JSON list of [name, limit_s, [program, argument ...]] instead")
    return parser.parse_args()


def json_parts(path: Path) -> list[Part]:
    """Read parts from a file."""
    return [Part(name, limit_s, argv) for name, limit_s, argv in json.loads(path.read_text())]


def environment_with(wheels: Path | None, site: Path) -> dict[str, str]:
    """Return the environment of the parts, with the packages of *wheels* in it."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1", "TMPDIR": str(site.parent)}
    if wheels is None:
        return environment
    found = [str(path) for path in sorted(wheels.glob("*.whl"))]
    options = ("--quiet", "--no-index", "--no-deps", "--no-compile", "--target", str(site))
    subprocess.run([sys.executable, "-m", "pip", "install", *options, *found], check=True)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(site), environment.get("PYTHONPATH")]))
    return environment


def run(part: Part, scratch: Path, environment: dict[str, str], left_s: float, file: FiguresFile) -> dict[str, Any]:
    """Run one part within its limit, note what it tells meanwhile, and return what became of it, with its figures."""
    if left_s < 5:
        return {"became": "left out: no time was left", "seconds": 0.0}
    figures, log = scratch / f"{part.name}.json", scratch / f"{part.name}.log"
    program, *rest = part.argv
    argv = [sys.executable, str(BENCH / program), *rest, "--out", str(figures)]
    started = time.monotonic()
    limit_s = min(part.limit_s, left_s)

    def result(became: str) -> dict[str, Any]:
        seconds = round(time.monotonic() - started, 1)
        told: dict[str, Any] = {"became": became, "seconds": seconds, "figures": figures_in(figures)}
        return told if became == "done" else {**told, "last_words": log.read_text(errors="replace")[-LAST_WORDS:]}

    with log.open("wb") as words:
        # A group of its own, to be ended as a whole; not a session, in which it would outlive a machine's last call.
        process = subprocess.Popen(argv, stdout=words, stderr=words, env=environment, process_group=0)
        became = waited(process, limit_s, lambda: file.note(part.name, result("runs, or was ended from outside")))
    return result(became)


def waited(process: subprocess.Popen[bytes], limit_s: float, meanwhile: Callable[[], None]) -> str:
    """Wait for the process, end it and all that it started at the limit, and say which it was."""
    deadline = time.monotonic() + limit_s
    try:
        while (left_s := deadline - time.monotonic()) > 0:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(min(POLL_S, left_s))
                return "done" if code == 0 else f"failed with exit code {code}"
            meanwhile()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return f"cut off after {limit_s:.0f} s"


def figures_in(file: Path) -> Any:
    """Return the figures that a part has written, None where there are none, or half of them."""
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError):
        return None


def make_room(weights: Path, wanted: str, free_bytes: float) -> None:
    """Remove the other model's random weights where those of *wanted* are still to be written and the disk is short."""
    if (weights / wanted).is_dir() or free_bytes > WEIGHTS_BYTES[wanted]:
        return
    for other in WEIGHTS_BYTES.keys() - {wanted}:
        shutil.rmtree(weights / other, ignore_errors=True)


def machine(weights: Path, environment: dict[str, str]) -> dict[str, Any]:
    """Return what the parts find: the cards, Python, the disk for the weights, and the modules that are not there."""
    looks = f"import importlib.util as u; print(*[name for name in {NEEDED!r} if u.find_spec(name) is None])"
    found = subprocess.run([sys.executable, "-c", looks], env=environment, capture_output=True, text=True, check=False)
    free = shutil.disk_usage(weights).free
    return {
        "gpu": gpu(), "python": sys.version.split()[0], "disk_free_gb": round(free / 1e9, 1), "cpus": os.cpu_count(),
        "lacks": found.stdout.split(), "ffmpeg": shutil.which("ffmpeg"),
    }  # fmt: skip


def gpu() -> str | None:
    """Return what the driver says of the cards, None without one."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    query = [program, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=False, timeout=20).stdout.strip() or None
    except subprocess.TimeoutExpired:
        return "nvidia-smi did not answer within 20 s"


if __name__ == "__main__":
    main()
