"""Split the steps between the two experts, and name the sampler. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from wanworker.errors import InvalidRequest
from wanworker.recipes.sampling import noise_at
from wanworker.recipes.table import DMD, EULER

#: Names of samplers: Wan's own on the left, ComfyUI's on the right. Its lcm predicts the clean clip and adds new noise,
#: which is what distribution matching distillation does (comfy/k_diffusion/sampling.py, sample_lcm).
SAMPLERS = {"unipc": "uni_pc", "dpm++": "dpmpp_2m", EULER: "euler", DMD: "lcm"}


@dataclass(frozen=True, slots=True)
class Split:
    """How many of the steps the high-noise and the low-noise expert take."""

    high: int
    low: int


def split_steps(steps: int, shift: float, boundary: float) -> Split:
    """
    Return which steps the experts take, at least one each; *steps* is at least 2.

    A step belongs to the high-noise expert while its share of noise is at least *boundary* (Wan2.2
    configs/wan_*_A14B.py). Times are those of ComfyUI's `simple` scheduler: evenly spaced before the shift.
    """
    high = sum(noise_at(1 - step / steps, shift) >= boundary for step in range(steps))
    high = min(max(high, 1), steps - 1)
    return Split(high, steps - high)


def sampler_for(solver: str) -> str:
    """Return ComfyUI's name of *solver*. Raises InvalidRequest."""
    if solver not in SAMPLERS:
        known = ", ".join(SAMPLERS)
        raise InvalidRequest(f"sample_solver {solver[:40]!r} is not known; known: {known}.", field="sample_solver")
    return SAMPLERS[solver]


def working_sampler(sampler: str, runs: tuple[int, ...], warnings: list[str]) -> str:
    """
    Return *sampler*, or one that can do runs of these lengths, with a line in *warnings*.

    ComfyUI's uni_pc gives a run of a single step its noise back untouched: its order is then 0 and its loop only
    asks the model once (comfy/extra_samplers/uni_pc.py at 0.10.0).
    """
    if sampler != "uni_pc" or min(runs) > 1:
        return sampler
    what = "one of the two experts takes a single step" if len(runs) > 1 else "there is a single step"
    warnings.append(f"the sampler euler was used: {what}, and uni_pc does nothing in a single step.")
    return "euler"
