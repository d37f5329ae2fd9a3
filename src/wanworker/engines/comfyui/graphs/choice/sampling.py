"""Choose the steps of each expert and the sampler from the request and the recipe. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from wanworker.engines.comfyui.graphs.choice._steps import SAMPLERS, Split, sampler_for, split_steps, working_sampler
from wanworker.models.files.loras import Expert
from wanworker.recipes.sampling import Sampling, sampling_for
from wanworker.recipes.table import recipe_for
from wanworker.spec import TASKS, RenderSpec


@dataclass(frozen=True, slots=True)
class Plan:
    """
    `experts` take part, each with as many steps as `runs` says. `guidance` is (low noise, high noise).

    `first` is how many steps are left out at the start, because a video is there instead of noise. `noise` has the
    share of noise before each step where no shift gives it. `sampling` has the same numbers as every engine says them.
    """

    steps: int
    experts: tuple[Expert, ...]
    runs: tuple[int, ...]
    guidance: tuple[float, float]
    shift: float
    sampler: str
    sampling: Sampling
    noise: tuple[float, ...] = ()
    first: int = 0


def plan_for(
    spec: RenderSpec,
    experts: Sequence[Expert],
    warnings: list[str],
    *,
    models: Sequence[str] = (),
    loras: Sequence[str] = (),
) -> Plan:
    """
    Return how *spec* is sampled by *experts* with these model and LoRA files.

    What a distilled file sets, and what had to be changed, is a line in *warnings*. Raises InvalidRequest for an
    unknown solver.
    """
    recipe = recipe_for(models=models, loras=loras)
    sampling = sampling_for(spec, recipe, warnings)
    steps = sampling.steps
    boundary = TASKS[spec.task].boundary
    is_pair = len(experts) == 2 and boundary is not None
    if is_pair and steps < 2:
        steps = 2
        warnings.append("sample_steps set to 2: each of the two experts takes at least one step.")
    first = _left_out(spec, steps)
    taking_part: tuple[Expert, ...] = tuple(experts)
    runs: tuple[int, ...] = (steps - first,)
    if is_pair and boundary is not None:
        taking_part, runs = _after(first, _split(sampling, steps, boundary))
    sampler = working_sampler(sampler_for(sampling.solver), runs, warnings)
    noise = sampling.noise if recipe is not None and recipe.noise else ()
    solver = next(name for name, theirs in SAMPLERS.items() if theirs == sampler)
    told = dataclasses.replace(sampling, steps=steps, solver=solver)
    return Plan(steps, taking_part, runs, sampling.guidance, sampling.shift, sampler, told, noise, first)


def _left_out(spec: RenderSpec, steps: int) -> int:
    """Return how many steps a video at the start makes needless; at least one step is rendered."""
    share = TASKS[spec.task].denoise if spec.denoise is None else spec.denoise
    if share is None or TASKS[spec.task].denoise is None:
        return 0
    return min(steps - 1, round(steps * (1 - share)))


def _after(first: int, split: Split) -> tuple[tuple[Expert, ...], tuple[int, ...]]:
    """Return the experts that take part after the *first* steps, and the steps of each."""
    if first < split.high:
        return ("high", "low"), (split.high - first, split.low)
    return ("low",), (split.high + split.low - first,)


def _split(sampling: Sampling, steps: int, boundary: float) -> Split:
    if sampling.high_steps is not None:
        return Split(sampling.high_steps, steps - sampling.high_steps)
    return split_steps(steps, sampling.shift, boundary)
