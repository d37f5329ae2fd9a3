"""Define which numbers the fields of a request take: one table for every door. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Range:
    """Say which numbers a field takes (for text: how many characters). Both ends are included."""

    low: float
    high: float


#: One table for every door. Numbers of DESIGN.md section 3.
RANGES: Mapping[str, Range] = {
    "prompt_chars": Range(0, 10_000),
    "steps": Range(1, 200),
    "guidance": Range(0, 50),
    "side_px": Range(64, 2048),
    "frames": Range(1, 1201),
    "fps": Range(1, 120),
    "seed": Range(-1, 2**64 - 1),
    "timeout_s": Range(1, 86_400),
    "shift": Range(0.01, 100),
    "strength": Range(-10, 10),
    "seconds": Range(0.01, 1201),
    "num_outputs": Range(1, 8),
    "crf": Range(0, 51),
    "denoise": Range(0.01, 1),
    "price_per_hour": Range(0, 10_000),
}
