"""Choose the scheduler of a job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import DPMSolverMultistepScheduler, FlowMatchLCMScheduler, UniPCMultistepScheduler

#: FastWan2.2-TI2V-5B was distilled for these times (1000, 757, 522 of 1000) and no others (wan.md 2.7).
DISTILLED_SIGMAS = (1.0, 0.757, 0.522)

_SOLVERS = {"unipc": UniPCMultistepScheduler, "dpm++": DPMSolverMultistepScheduler}


def scheduler_for(
    config: Mapping[str, Any], *, shift: float, solver: str | None, warnings: list[str]
) -> UniPCMultistepScheduler | DPMSolverMultistepScheduler:
    """Return a flow scheduler like the folder's own with this shift; an unknown *solver* is a line in *warnings*."""
    if solver is not None and solver not in _SOLVERS:
        warnings.append(f"sample_solver {solver!r} was ignored; known: {', '.join(_SOLVERS)}. unipc was used.")
    kind = _SOLVERS.get(solver or "unipc", UniPCMultistepScheduler)
    return kind.from_config(dict(config), flow_shift=shift, use_flow_sigmas=True, prediction_type="flow_prediction")


class DistilledScheduler(FlowMatchLCMScheduler):  # type: ignore[misc]  # diffusers ships no types
    """Step as distribution matching distillation does: predict the clean clip, then add new noise for the next time."""

    noise: torch.Generator | None = None

    def set_timesteps(self, *_args: object, device: object = None, **_kwargs: object) -> None:
        """Set the three times that the model knows, whatever number is asked."""
        super().set_timesteps(sigmas=list(DISTILLED_SIGMAS), device=device)

    def step(self, model_output: Any, timestep: Any, sample: Any, return_dict: bool = True) -> Any:
        """Take one step with noise from our own generator: the pipeline passes none, and the seed must decide."""
        return super().step(model_output, timestep, sample, generator=self.noise, return_dict=return_dict)


def distilled_scheduler(noise: torch.Generator) -> DistilledScheduler:
    """Return the three-step scheduler of a distilled model, with *noise* for its new noise."""
    scheduler = DistilledScheduler(shift=1.0)
    scheduler.noise = noise
    return scheduler
