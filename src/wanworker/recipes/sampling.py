"""Decide every number of one run from the request and the recipe of its weights. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from wanworker.recipes.table import DMD, EULER, OWN_NAME, Recipe
from wanworker.spec import TASKS, RenderSpec


@dataclass(frozen=True, slots=True)
class Sampling:
    """
    Every number of one run, decided. `guidance` is (low noise, high noise).

    `noise` has the share of noise before each step where the solver follows exactly these, and is empty where it makes
    its own schedule from `shift`. `high_steps` is None where the task's boundary parts the experts. `name` is that of
    the recipe from which the numbers come that the request left open.
    """

    steps: int
    guidance: tuple[float, float]
    shift: float
    solver: str
    high_steps: int | None = None
    noise: tuple[float, ...] = ()
    name: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the numbers as an answer and a job's record show them."""
        low, high = self.guidance
        return {
            "name": self.name,
            "steps": self.steps,
            "guidance": high,
            "guidance_low": low,
            "shift": self.shift,
            "solver": self.solver,
        }

    @property
    def boundary(self) -> float | None:
        """The share of noise below which the low-noise expert takes over, None where the task's own holds."""
        if self.high_steps is None:
            return None
        before, after = (noise_at(1 - step / self.steps, self.shift) for step in (self.high_steps - 1, self.high_steps))
        return (before + after) / 2


def _own_recipe(spec: RenderSpec) -> Recipe:
    """Return upstream's own numbers for the task and size of *spec*; its solver is unipc (wan.md 1.1)."""
    task = TASKS[spec.task]
    return Recipe(task.steps, task.guidance, task.shift_at(spec.size), "unipc", name=OWN_NAME)


def sampling_for(spec: RenderSpec, recipe: Recipe | None, warnings: list[str]) -> Sampling:
    """
    Return how *spec* is sampled with *recipe* (None: nothing that it uses was distilled).

    What the request says wins. What the recipe sets, and what fights it, is a line in *warnings*.
    """
    base = recipe or _own_recipe(spec)
    if recipe is not None:
        _say(spec, recipe, warnings)
    steps = base.steps if spec.steps is None else spec.steps
    shift = base.shift if spec.shift is None else spec.shift
    solver = spec.solver or base.solver
    return Sampling(
        steps=steps,
        guidance=_guidance(spec, base),
        shift=shift,
        solver=solver,
        high_steps=base.high_steps if steps == base.steps else None,
        noise=_noise(base, steps, shift, solver),
        name=base.name,
    )


def noise_at(time: float, shift: float) -> float:
    """Return the share of noise at *time* (1 is the start, 0 the end) of a flow with this *shift*."""
    return shift * time / (1 + (shift - 1) * time)


def _guidance(spec: RenderSpec, base: Recipe) -> tuple[float, float]:
    """Return (low, high): one number given means both experts, as upstream's flag does."""
    low, high = base.guidance if spec.guidance is None else (spec.guidance, spec.guidance)
    return (low if spec.guidance_low is None else spec.guidance_low, high)


def _noise(base: Recipe, steps: int, shift: float, solver: str) -> tuple[float, ...]:
    if solver == DMD:
        return tuple(_between(base.noise, step * len(base.noise) / steps) for step in range(steps))
    if solver == EULER:
        return tuple(noise_at(1 - step / steps, shift) for step in range(steps))
    return ()


def _between(noise: tuple[float, ...], place: float) -> float:
    """Return the share of noise at *place*, counted in the recipe's own steps: between two of them, their mixture."""
    known = (*noise, 0.0)
    first = min(int(place), len(noise) - 1)
    return known[first] + (known[first + 1] - known[first]) * (place - first)


def _say(spec: RenderSpec, recipe: Recipe, warnings: list[str]) -> None:
    numbers = {
        "sample_steps": (spec.steps, recipe.steps),
        "sample_guide_scale": (spec.guidance, recipe.guidance[1]),
        "sample_shift": (spec.shift, recipe.shift),
    }
    if (spec.solver or recipe.solver) == DMD:
        del numbers["sample_shift"]
        if spec.shift is not None:
            warnings.append(f"sample_shift was ignored: {recipe.name} has a schedule of its own.")
    lines = [f"{name} to {value:g}" for name, (given, value) in numbers.items() if given is None]
    if lines:
        warnings.append(f"set for the distilled model or LoRA: {', '.join(lines)}.")
    fights = [
        f"{name} {value:g} (not {given:g})"
        for name, (given, value) in numbers.items()
        if given is not None and given != value
    ]
    if spec.solver is not None and spec.solver != recipe.solver:
        fights.append(f"the solver {recipe.solver} (not {spec.solver})")
    if fights:
        warnings.append(f"{recipe.name} was made for {', '.join(fights)}; the request's numbers were used.")


#: What is said of a negative prompt where no guidance is computed, by every door and engine.
NEGATIVE_IN_VAIN = "negative_prompt has no effect: it needs a guidance scale above 1."


def in_vain(spec: RenderSpec, guidance: tuple[float, float], *, is_apart: bool = False) -> list[str]:
    """
    Return a line for what the request sets and a *guidance* (low noise, high noise) of 1 or less makes useless.

    *is_apart* says that each expert has guidance by its own number; otherwise the high-noise one turns it off for both.
    """
    low, high = guidance
    lines = []
    if spec.negative_prompt and (max(low, high) if is_apart else high) <= 1:
        lines.append(NEGATIVE_IN_VAIN)
    if high <= 1 < low and not is_apart:
        lines.append("guidance_scale_2 has no effect: a guidance scale of 1 or less turns guidance off for both.")
    return lines
