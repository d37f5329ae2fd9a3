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
    `runs` are the steps of each expert that takes part, `guidance` is (low noise, high noise).

    `noise` has the share of noise before each step where no shift gives it. `sampling` has the same numbers as every
    engine says them.
    """

    steps: int
    runs: tuple[int, ...]
    guidance: tuple[float, float]
    shift: float
    sampler: str
    noise: tuple[float, ...]
    sampling: Sampling


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
    runs: tuple[int, ...] = (steps,)
    boundary = TASKS[spec.task].boundary
    if len(experts) == 2 and boundary is not None:
        if steps < 2:
            steps = 2
            warnings.append("sample_steps set to 2: each of the two experts takes at least one step.")
        split = _split(sampling, steps, boundary)
        runs = (split.high, split.low)
    sampler = working_sampler(sampler_for(sampling.solver), runs, warnings)
    noise = sampling.noise if recipe is not None and recipe.noise else ()
    solver = next(name for name, theirs in SAMPLERS.items() if theirs == sampler)
    told = dataclasses.replace(sampling, steps=steps, solver=solver)
    return Plan(steps, runs, sampling.guidance, sampling.shift, sampler, noise, told)


def _split(sampling: Sampling, steps: int, boundary: float) -> Split:
    if sampling.high_steps is not None:
        return Split(sampling.high_steps, steps - sampling.high_steps)
    return split_steps(steps, sampling.shift, boundary)
