"""Choose steps, guidance, shift and sampler from the request and the recipe. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wanworker.engines.comfyui.graphs._workflow import Workflow
from wanworker.engines.comfyui.graphs.choice.loras import recipe_with
from wanworker.engines.comfyui.graphs.choice.steps import Recipe, sampler_for, split_steps, working_sampler
from wanworker.models.files.loras import Expert
from wanworker.spec import TASKS, RenderSpec


@dataclass(frozen=True, slots=True)
class Plan:
    """`runs` are the steps of each expert that takes part, `guidance` is (low noise, high noise)."""

    steps: int
    runs: tuple[int, ...]
    guidance: tuple[float, float]
    shift: float
    sampler: str


def plan_for(
    spec: RenderSpec, workflow: Workflow, experts: Sequence[Expert], files: Sequence[str], warnings: list[str]
) -> Plan:
    """
    Return how *spec* is sampled by *experts* with these model and LoRA *files*.

    What a distilled file sets, and what had to be changed, is a line in *warnings*. Raises InvalidRequest for an
    unknown solver.
    """
    recipe = recipe_with(files, workflow.recipe)
    if recipe.is_distilled:
        _say_recipe(spec, recipe, warnings)
    steps = recipe.steps if spec.steps is None else spec.steps
    shift = recipe.shift if spec.shift is None else spec.shift
    runs: tuple[int, ...] = (steps,)
    boundary = TASKS[workflow.task].boundary
    if len(experts) == 2 and boundary is not None:
        if steps < 2:
            steps = 2
            warnings.append("sample_steps set to 2: each of the two experts takes at least one step.")
        split = split_steps(steps, shift, boundary)
        runs = (split.high, split.low)
    sampler = working_sampler(sampler_for(spec.solver, recipe), runs, warnings)
    return Plan(steps, runs, _guidance(spec, recipe), shift, sampler)


def _guidance(spec: RenderSpec, recipe: Recipe) -> tuple[float, float]:
    """Return (low, high): one number given means both experts, as upstream's flag does."""
    high = recipe.guidance[1] if spec.guidance is None else spec.guidance
    low = recipe.guidance[0] if spec.guidance is None else spec.guidance
    return (low if spec.guidance_low is None else spec.guidance_low, high)


def _say_recipe(spec: RenderSpec, recipe: Recipe, warnings: list[str]) -> None:
    chosen = {
        "sample_steps": (spec.steps, recipe.steps),
        "sample_guide_scale": (spec.guidance, recipe.guidance[1]),
        "sample_shift": (spec.shift, recipe.shift),
    }
    lines = [f"{name} to {value:g}" for name, (given, value) in chosen.items() if given is None]
    if lines:
        warnings.append(f"set for the distilled model or LoRA: {', '.join(lines)}.")
