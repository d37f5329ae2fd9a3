"""
Where the time of a render goes on the diffusers engine: load, text, each step, decode, encode, answer.

    python bench/render.py                                            a small model, on any machine
    python bench/render.py --weights released --task ti2v-5B --size 1280*704 --frames 121 --steps 3
    python bench/render.py --weights released --task t2v-A14B --form fp8_scaled --share --size 832*480 --frames 81
    python bench/render.py --weights miniature                        the weights of the mini engine
    python bench/render.py --weights /workspace/models                the weights that are there

Each run is a job of a real worker with this engine, so the plan, the store and the answer are in it. The first job of a
profile loads the weights, and the others find them warm. Weights that are not there are written with random numbers
(random_weights.py). Prints one line of JSON, or writes it to --out: the machine, the versions, seconds by stage, and
the ratios that can be compared between machines.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import itertools
import json
import logging
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

STAGES = ("load_s", "text_s", "denoise_s", "decode_s", "encode_s")
PROMPT = "a red star moves to the right"


def main() -> None:
    """Render and tell."""
    args = arguments()
    logging.basicConfig(level=logging.WARNING)
    with folder_of(args) as folder:
        told = {**facts(args), "weights_made": weights_in(folder, args)}
        jobs: list[dict[str, Any]] = []
        asyncio.run(render_all(folder, args, jobs, lambda: tell(told, jobs, args.out)))
    print(tell(told, jobs, args.out))


def tell(told: dict[str, Any], jobs: list[dict[str, Any]], out: Path | None) -> str:
    """Return what is known, written to the file *out* too: whoever is cut off has said it."""
    text = json.dumps({**told, "jobs": jobs, "ratios": ratios(jobs)})
    if out:
        out.write_text(text + "\n")
    return text


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="small", help="small, released, miniature, or a models folder")
    parser.add_argument("--folder", type=Path, help="where random weights are written and kept")
    parser.add_argument("--task", default="ti2v-5B", choices=["t2v-A14B", "ti2v-5B"])
    parser.add_argument("--form", default="bf16", choices=["bf16", "fp8_scaled"])
    parser.add_argument("--share", action="store_true", help="both experts are one file of random weights")
    parser.add_argument("--size", default="64*64", nargs="+", help="one or more, such as 832*480 1280*720")
    parser.add_argument("--frames", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--profiles", default="exact", help="exact, fast, or exact,fast")
    parser.add_argument("--runs", type=int, default=2, help="jobs of each size and profile")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


@contextlib.contextmanager
def folder_of(args: argparse.Namespace) -> Iterator[Path]:
    """Give the models folder."""
    if args.weights not in {"small", "released", "miniature"}:
        yield Path(args.weights)
    elif args.folder:
        yield args.folder
    else:
        with tempfile.TemporaryDirectory(prefix="render-") as folder:
            yield Path(folder)


def weights_in(folder: Path, args: argparse.Namespace) -> dict[str, Any] | None:
    """Write what is missing of the weights, and return what that took."""
    if args.weights == "miniature":
        from wanworker.models.miniature.weights import miniature

        (folder / "miniature").symlink_to(miniature().folder_of(args.task))
    if args.weights not in {"small", "released"}:
        return None
    argv = [sys.executable, str(ROOT / "bench" / "random_weights.py"), str(folder), "--task", args.task]
    argv += ["--form", args.form, *(["--small"] if args.weights == "small" else [])]
    argv += ["--share"] if args.share else []
    done = subprocess.run(argv, check=True, stdout=subprocess.PIPE)
    made: dict[str, Any] = json.loads(done.stdout)
    return made


async def render_all(
    folder: Path, args: argparse.Namespace, jobs: list[dict[str, Any]], tell_of_it: Callable[[], object]
) -> None:
    """Run the jobs one after the other, in one worker, and tell of each."""
    from wanworker.app import Worker
    from wanworker.settings import Settings

    sizes = [args.size] if isinstance(args.size, str) else args.size
    rows = orders(sizes, args.profiles.split(","), args.runs)
    with tempfile.TemporaryDirectory(prefix="render-out-") as out:
        places = {"ckpt_dir": folder, "out_dir": Path(out), "wan_home": Path(out), "HF_HOME": Path(out)}
        worker = Worker(Settings(**places))
        try:
            for row in rows:
                jobs.append(await job(worker, args, *row))
                tell_of_it()
        finally:
            await worker.close()


def orders(sizes: Sequence[str], profiles: Sequence[str], runs: int) -> Iterator[tuple[str, str, int]]:
    """Give size, profile and number of each job; the last profile goes on with the next size, so it is never cold."""
    for number, size in enumerate(sizes):
        for profile, run in itertools.product(profiles if number % 2 == 0 else reversed(profiles), range(runs)):
            yield size, profile, run


async def job(worker: Any, args: argparse.Namespace, size: str, profile: str, run: int) -> dict[str, Any]:
    """Render one clip and return the seconds of each stage and step."""
    from wanworker.actions.base import Call

    steps: list[float] = []

    def report(progress: Any) -> None:
        if progress.stage == "sampling":
            steps.append(time.perf_counter())

    started = time.perf_counter()
    answer = await worker.perform(
        {
            "action": "generate", "task": args.task, "prompt": PROMPT, "engine": "diffusers", "profile": profile,
            "size": size, "frame_num": args.frames, "sample_steps": args.steps, "sample_guide_scale": 1.0,
            "sample_shift": 5.0, "seed": 7, "request_id": f"{profile}-{size.replace('*', 'x')}-{run}",
        },
        Call(f"job-{run}", None, report, answer_limit_bytes=10**9),
    )  # fmt: skip
    whole_s = time.perf_counter() - started
    size_bytes = len(json.dumps(answer, allow_nan=False))
    timings = answer["timings"]
    stages = {name: timings.get(name, 0.0) for name in STAGES}
    return {
        "size": size, "frames": answer["video"]["frames"], "profile": profile, "run": run, "model": answer["model"],
        **stages, "steps_s": [round(later - before, 3) for before, later in itertools.pairwise(steps)],
        "answer_s": round(whole_s - sum(stages.values()), 3), "whole_s": round(whole_s, 3),
        "answer_bytes": size_bytes, "video_s": answer["video"]["duration_s"], "placement": answer["placement"],
        "warnings": answer["warnings"],
    }  # fmt: skip


def ratios(jobs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what can be compared between machines, by size and profile: from the jobs that found the weights warm."""
    found: dict[str, Any] = {}
    for key in dict.fromkeys((job["size"], job["profile"]) for job in jobs):
        runs = [job for job in jobs if (job["size"], job["profile"]) == key]
        warm = [job for job in runs if not job["load_s"]] or runs
        whole_s = statistics.median(job["whole_s"] for job in warm)
        stages = {name: statistics.median(job[name] for job in warm) / whole_s for name in (*STAGES, "answer_s")}
        found[" ".join(key)] = {
            "first_to_warm": round(runs[0]["whole_s"] / whole_s, 2),
            "whole_to_video": round(whole_s / warm[0]["video_s"], 2),
            "shares": {name.removesuffix("_s"): round(share, 3) for name, share in stages.items()},
        }
    return found


def facts(args: argparse.Namespace) -> dict[str, Any]:
    """Return the machine, the versions and what was asked for."""
    from wanworker.models.machine import hardware

    asked = {name: str(value) for name, value in vars(args).items() if name != "out" and value is not None}
    return {
        "machine": {
            "system": platform.platform(), "cpus": os.cpu_count(), "memory_mib": hardware.available_memory_mib(),
            "gpus": [dataclasses.asdict(gpu) for gpu in hardware.gpus()],
        },
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in ("torch", "diffusers", "transformers")},
        },
        "asked": asked,
    }  # fmt: skip


if __name__ == "__main__":
    main()
