"""
What a machine without a GPU cannot show, within ten minutes, as one JSON file. on_gpu.sh starts this.

Each part is a program of this folder with a time limit of its own. A part that fails or is cut off does not stop the
rest: the file says what became of it, and is written anew after each part. What does not fit into the time is left out.
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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

BENCH = Path(__file__).resolve().parent
LIMIT_S = 585.0
LAST_WORDS = 2000


@dataclasses.dataclass(frozen=True)
class Part:
    """One program with its arguments, and the seconds that it may take; it writes its figures to `--out FILE`."""

    name: str
    limit_s: float
    argv: Sequence[str]


def parts_for(weights: Path, *, small: bool) -> list[Part]:
    """Return the parts, the most wanted first. What the first one of a model has written, the later ones find."""
    kind = "small" if small else "released"
    own = ("--weights", kind, "--folder")
    fastwan = (*own, str(weights / "5b"), "--task", "ti2v-5B", "--form", "bf16", "--steps", "3")
    a14b = (*own, str(weights / "a14b"), "--task", "t2v-A14B", "--form", "fp8_scaled", "--share", "--steps", "4")
    clips = {"5b": ("1280*704", 121), "a14b": ("832*480 1280*720", 81), "short": ("832*480", 17)}
    if small:
        clips = dict.fromkeys(clips, ("64*64", 5))
    size = {name: ("--size", *sizes.split(), "--frames", str(frames)) for name, (sizes, frames) in clips.items()}
    both = ("--profiles", "exact,fast")
    parts = [
        Part("gemm", 45, ("gemm.py", *(["--small"] if small else []))),
        Part("fastwan_720p121_3_steps", 170, ("render.py", *fastwan, *size["5b"], *both)),
        Part("a14b_4_steps", 270, ("render.py", *a14b, *size["a14b"], *both, "--runs", "1")),
        Part("placements_a14b", 150, ("placements.py", str(weights / "a14b"), "--task", "t2v-A14B", *size["short"])),
        Part("placements_5b", 90, ("placements.py", str(weights / "5b"), "--task", "ti2v-5B", *size["short"])),
    ]  # fmt: skip
    # A small part takes seconds; a machine that does other work as well may need minutes to import torch.
    return [dataclasses.replace(part, limit_s=part.limit_s * (4 if small else 1)) for part in parts]


def main() -> None:
    """Run the parts and write the file."""
    args = arguments()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="on-gpu-") as scratch:
        environment = environment_with(args.wheels, Path(scratch) / "site")
        weights = args.weights or Path(scratch) / "weights"
        weights.mkdir(parents=True, exist_ok=True)
        parts = json_parts(args.parts) if args.parts else parts_for(weights, small=args.small)
        results = run_all(parts, Path(scratch), environment, started + args.limit_s, args.out)
    print(args.out)
    if any(result["became"] != "done" for result in results.values()):
        raise SystemExit(1)


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


def run_all(
    parts: Sequence[Part], scratch: Path, environment: dict[str, str], deadline: float, out: Path
) -> dict[str, Any]:
    """Run each part and write the file after each; *deadline* is for all of them."""
    results: dict[str, Any] = {}
    for part in parts:
        results[part.name] = run(part, scratch, environment, deadline - time.monotonic())
        whole = {"gpu": gpu(), "python": sys.version.split()[0], "parts": results}
        out.write_text(json.dumps(whole, indent=1) + "\n")
        print(f"{part.name}: {results[part.name]['became']}, {results[part.name]['seconds']} s", flush=True)
    return results


def run(part: Part, scratch: Path, environment: dict[str, str], left_s: float) -> dict[str, Any]:
    """Run one part within its limit, and return what became of it, with its figures as far as it wrote them."""
    if left_s < 5:
        return {"became": "left out: no time was left", "seconds": 0.0}
    file, log = scratch / f"{part.name}.json", scratch / f"{part.name}.log"
    program, *rest = part.argv
    argv = [sys.executable, str(BENCH / program), *rest, "--out", str(file)]
    limit_s = min(part.limit_s, left_s)
    started = time.monotonic()
    with log.open("wb") as words:
        process = subprocess.Popen(argv, stdout=words, stderr=words, env=environment, start_new_session=True)
        became = waited(process, limit_s)
    figures = json.loads(file.read_text()) if file.exists() else None
    result: dict[str, Any] = {"became": became, "seconds": round(time.monotonic() - started, 1), "figures": figures}
    if became != "done":
        result["last_words"] = log.read_text(errors="replace")[-LAST_WORDS:]
    return result


def waited(process: subprocess.Popen[bytes], limit_s: float) -> str:
    """Wait for the process, end it and all that it started at the limit, and say which it was."""
    became = f"cut off after {limit_s:.0f} s"
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = process.wait(limit_s)
            became = "done" if code == 0 else f"failed with exit code {code}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return became


def gpu() -> str | None:
    """Return what the driver says of the cards, None without one."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    query = [program, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    return subprocess.run(query, capture_output=True, text=True, check=False, timeout=20).stdout.strip() or None


if __name__ == "__main__":
    main()
