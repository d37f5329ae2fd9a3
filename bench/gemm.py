"""
Float8 matrix products against dequantised ones: the error, and the time beside that of a plain bfloat16 layer.

    python bench/gemm.py           the matrices of Wan 2.2 at its own numbers of tokens, on the GPU
    python bench/gemm.py --small   small ones, on any machine

Each row is one linear layer of a transformer as the diffusers engine has it: `plain` brings the float8 weight back to
bfloat16 and multiplies (profile exact), `scaled_mm` multiplies in float8 (fast), `bfloat16` is a layer that was never
float8. The error is that of scaled_mm against plain, relative to its norm. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

import torch  # noqa: E402

from fakes.weight_files import quantised  # noqa: E402
from wanworker.engines.resident.child.weights._fp8 import Fp8Linear  # noqa: E402

#: Rows (tokens), columns in, columns out: attention and the two halves of the feed-forward, at 480p, 720p and for 5B.
SHAPES = (
    (32_760, 5120, 5120), (32_760, 5120, 13824), (32_760, 13824, 5120), (75_600, 5120, 5120), (75_600, 5120, 13824),
    (27_280, 3072, 3072), (27_280, 3072, 14336),
)  # fmt: skip
SMALL = ((64, 64, 64), (96, 64, 128))
ROUNDS = 10


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with torch.no_grad():
        rows: list[dict[str, Any]] = []
        for shape in SMALL if args.small else SHAPES:
            rows.append(row(device, *shape))
            text = json.dumps({"device": str(device), "torch": torch.__version__, "rows": rows})
            if args.out:  # whoever is cut off has said what it knew
                args.out.write_text(text + "\n")
    print(text)


def row(device: torch.device, tokens: int, columns: int, rows: int) -> dict[str, Any]:
    """Return the figures of one layer."""
    generator = torch.Generator(device).manual_seed(0)
    weight = torch.randn(rows, columns, generator=generator, device=device) / columns**0.5
    given = torch.randn(tokens, columns, generator=generator, device=device).bfloat16()
    bfloat16 = torch.nn.Linear(columns, rows, device=device, dtype=torch.bfloat16)
    bfloat16.weight.data.copy_(weight)
    fp8, scale = quantised(weight)
    layer = Fp8Linear(bfloat16, fp8, scale.reshape(()), torch.bfloat16)
    plain = layer(given)
    found = {"tokens": tokens, "in": columns, "out": rows, "plain_s": seconds(layer, given)}
    found["bfloat16_s"] = seconds(bfloat16, given)
    found["is_float8"] = layer.multiply_in_float8(wanted=True)
    made = layer(given)
    found["scaled_mm_s"] = seconds(layer, given)
    found["error"] = float((made.float() - plain.float()).norm() / plain.float().norm())
    found["plain_to_scaled_mm"] = round(found["plain_s"] / found["scaled_mm_s"], 2)
    found["plain_to_bfloat16"] = round(found["plain_s"] / found["bfloat16_s"], 2)
    return found


def seconds(layer: Any, given: torch.Tensor) -> float:
    """Return the median of some rounds, after the card has done each."""
    times = []
    for _ in range(ROUNDS + 1):
        started = time.perf_counter()
        layer(given)
        if given.is_cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


if __name__ == "__main__":
    main()
