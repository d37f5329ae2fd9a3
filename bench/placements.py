"""
Each placement of a model's parts: the same bytes, how long a job takes in it, and the card's memory by stage.

    python bench/placements.py FOLDER --task t2v-A14B --size 832*480 --frames 17    on the GPU
    python bench/placements.py FOLDER --task t2v-A14B                               a tiny clip, on any machine

FOLDER is a models folder, such as random_weights.py writes. The child's own code runs here in this process, without its
parent, so that torch can be asked for the peaks. `planned_gib` is what the plan says of each stage, `peak_gib` what
was taken; a placement that the card is too small for has `failed`. All placements of the profile exact have to give the
same file. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

import torch  # noqa: E402

from wanworker.engines.resident.child._failures import is_out_of_memory  # noqa: E402
from wanworker.engines.resident.child._job import render  # noqa: E402
from wanworker.engines.resident.child._loading import load  # noqa: E402
from wanworker.engines.resident.placement.choice import Weights, figures_of  # noqa: E402
from wanworker.engines.resident.placement.peaks import GIB, Shape  # noqa: E402
from wanworker.engines.resident.protocol import Model, Part, Placement, Render  # noqa: E402
from wanworker.models.sources.discover import Source, Sources  # noqa: E402

PROMPT = "a red star moves to the right"


def main() -> None:
    """Render in each placement and tell."""
    args = arguments()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    source = Sources((args.folder,), lambda kind: [args.folder / kind]).find(args.task)[0]
    if source.faults:
        raise SystemExit("; ".join(source.faults))
    rows: list[dict[str, Any]] = []
    first = next(placements(source, device))
    loaded = load(model_of(source, device, first), lambda _done, _size: None)
    with tempfile.TemporaryDirectory(prefix="placements-") as out, torch.inference_mode(False):
        for placement in placements(source, device):
            path = Path(out) / "out.mp4"
            rows.append(row_or_failure(loaded, placement, lambda: row(loaded, source, placement, args, path)))  # noqa: B023
            told = {"device": device, "model": source.name, "rows": rows, "exact_files": exact_files(rows)}
            if args.out:  # whoever is cut off has said what it knew
                args.out.write_text(json.dumps(told) + "\n")
    print(json.dumps(told))


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--task", default="t2v-A14B", choices=["t2v-A14B", "ti2v-5B"])
    parser.add_argument("--size", default="64*64")
    parser.add_argument("--frames", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def placements(source: Source, device: Any) -> Iterator[Placement]:
    """Give the placements, from that with least on the card to that with most: what came to stay need not leave."""
    experts = ("evicted", "slot", "resident") if source.experts > 1 else ("evicted", "resident")
    for expert in experts:
        yield Placement(device, experts=expert, text_encoder="evicted", vae="evicted")  # type: ignore[arg-type]
    yield Placement(device, text_encoder="cpu", vae="evicted")
    yield Placement(device, text_encoder="evicted", vae="resident")
    yield Placement(device)
    matmuls = ("plain", "scaled_mm") if source.form.startswith("fp8") else ("plain",)
    for matmul, decode in itertools.product(matmuls, ("streamed", "tiled")):
        yield Placement(device, "fast", vae_dtype="bfloat16", decode=decode, matmul=matmul)  # type: ignore[arg-type]


def model_of(source: Source, device: Any, placement: Placement) -> Model:
    """Return the model as the engine would ask for it."""
    parts = tuple(Part(name, str(path)) for name, path in source.parts.items())
    return Model(str(source.path), device, source.task, parts, placement=placement)


class Hooks:
    """Note the peak of the card's memory in each stage."""

    def __init__(self) -> None:
        self.peaks_bytes: dict[str, int] = {}
        self._stage = "start"
        self._begin()

    def stage(self, name: str) -> None:
        self.end()
        self._stage = name
        self._begin()

    def step(self, stage: str, step: int, steps: int) -> None:
        """Steps are not noted."""

    def must_stop(self) -> bool:
        return False

    def end(self) -> None:
        if torch.cuda.is_available():
            self.peaks_bytes[self._stage] = torch.cuda.max_memory_allocated()

    def _begin(self) -> None:
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()


def row_or_failure(loaded: Any, placement: Placement, made: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the row that is made; where the card is too small, one that says so, with the card as it was before."""
    try:
        return made()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        words = str(error)[:300]
    loaded.free()  # only here, where the exception and its frames with their tensors are gone
    return {"placement": placement.to_json(), "failed": f"out of memory: {words}"}


def row(loaded: Any, source: Source, placement: Placement, args: argparse.Namespace, path: Path) -> dict[str, Any]:
    """Return the figures of one placement, of its second job: the first moves what is to stay."""
    width, height = map(int, args.size.split("*"))
    request = Render(
        1, PROMPT, width, height, args.frames, width, height, args.frames, 16, 7, args.steps, 1.0, 1.0, 5.0, str(path),
        placement=placement,
    )  # fmt: skip
    render(loaded, request, Hooks())
    hooks = Hooks()
    started = time.perf_counter()
    done = render(loaded, request, hooks)
    whole_s = time.perf_counter() - started
    hooks.end()
    shape = Shape(source.task, width, height, args.frames)
    form: Any = "float8" if source.form.startswith("fp8") else "bfloat16"
    planned = figures_of(placement, Weights(source.sizes_bytes, form), shape).stages_bytes
    return {
        "placement": placement.to_json(), "whole_s": round(whole_s, 3),
        "timings": {name: round(value, 3) for name, value in done.timings.items()},
        "planned_gib": {name: round(size / GIB, 2) for name, size in planned.items()},
        "peak_gib": {name: round(size / GIB, 2) for name, size in hooks.peaks_bytes.items()},
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }  # fmt: skip


def exact_files(rows: list[dict[str, Any]]) -> int:
    """Return how many different files the placements of the profile exact gave: one, or something is wrong."""
    return len({row["sha256"] for row in rows if "sha256" in row and row["placement"]["profile"] == "exact"})


if __name__ == "__main__":
    main()
