"""Choose the scheduler of a job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchLCMScheduler,
    UniPCMultistepScheduler,
)

from wanworker.engines.resident.protocol import Render

#: Solvers that make their own schedule of a shift; the others take the noise before each step from the request.
_SOLVERS = {"unipc": UniPCMultistepScheduler, "dpm++": DPMSolverMultistepScheduler}


def scheduler_for(
    config: Mapping[str, Any], request: Render, noise: torch.Generator, warnings: list[str]
) -> UniPCMultistepScheduler | DPMSolverMultistepScheduler | FlowMatchEulerDiscreteScheduler | FlowMatchLCMScheduler:
    """
    Return the scheduler that *request* names, a flow scheduler like the folder's own (*config*) otherwise.

    *noise* is what a solver that adds noise draws from. An unknown solver is a line in *warnings*.
    """
    if request.solver == "euler" and request.noise:
        return _ExactEuler.with_noise(request.noise)
    if request.solver == "dmd" and request.noise:
        return _Distilled.with_noise(request.noise, noise)
    if request.solver is not None and request.solver not in _SOLVERS:
        known = ", ".join(_SOLVERS)
        warnings.append(f"sample_solver {request.solver!r} was ignored; known: {known}. unipc was used.")
    kind = _SOLVERS.get(request.solver or "unipc", UniPCMultistepScheduler)
    settings = {"flow_shift": request.shift, "use_flow_sigmas": True, "prediction_type": "flow_prediction"}
    return kind.from_config(dict(config), **settings)


class _ExactEuler(FlowMatchEulerDiscreteScheduler):  # type: ignore[misc]  # diffusers ships no types
    """Take Euler steps between the given shares of noise, as LightX2V's WanStepDistillScheduler does."""

    exact: tuple[float, ...] = ()

    @classmethod
    def with_noise(cls, exact: tuple[float, ...]) -> _ExactEuler:
        """Return the scheduler with these shares of noise, already shifted."""
        scheduler = cls(shift=1.0)
        scheduler.exact = exact
        return scheduler

    def set_timesteps(self, *_args: object, device: object = None, **_kwargs: object) -> None:
        """Set the schedule that was given, whatever number of steps is asked."""
        super().set_timesteps(sigmas=list(self.exact), device=device)


class _Distilled(FlowMatchLCMScheduler):  # type: ignore[misc]  # diffusers ships no types
    """Step as distribution matching distillation does: predict the clean clip, then add new noise for the next time."""

    exact: tuple[float, ...] = ()
    drawn: torch.Generator | None = None

    @classmethod
    def with_noise(cls, exact: tuple[float, ...], drawn: torch.Generator) -> _Distilled:
        """Return the scheduler with these shares of noise; *drawn* gives the new noise."""
        scheduler = cls(shift=1.0)
        scheduler.exact, scheduler.drawn = exact, drawn
        return scheduler

    def set_timesteps(self, *_args: object, device: object = None, **_kwargs: object) -> None:
        """Set the schedule that was given, whatever number of steps is asked."""
        super().set_timesteps(sigmas=list(self.exact), device=device)

    def step(self, model_output: Any, timestep: Any, sample: Any, return_dict: bool = True) -> Any:
        """Take one step with noise from our own generator: the pipeline passes none, and the seed must decide."""
        return super().step(model_output, timestep, sample, generator=self.drawn, return_dict=return_dict)
