"""The schedulers against the loops of those who distilled the models, restated, on a tiny model with random weights."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
import torch
from diffusers import WanPipeline

from fakes.tiny_wan import pipeline
from wanworker.engines.diffusers import request_for
from wanworker.engines.resident.child._job import _experts_parted_at
from wanworker.engines.resident.child._schedulers import scheduler_for
from wanworker.recipes.sampling import sampling_for
from wanworker.recipes.table import FASTWAN, LIGHTX2V_PAIR, Recipe
from wanworker.spec import TASKS, RenderSpec

SEED = 5
FOLDERS_OWN = {"num_train_timesteps": 1000, "solver_order": 2, "flow_shift": 3.0}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def text() -> torch.Tensor:
    return torch.randn(1, 16, 32, generator=torch.Generator().manual_seed(0))


def quiet(pipe: Any) -> Any:
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def pair() -> Any:
    return quiet(pipeline(WanPipeline, 16, 16, boundary_ratio=0.875))


@pytest.fixture(scope="module")
def small() -> Any:
    return quiet(pipeline(WanPipeline, 48, 48, expand_timesteps=True))


def latents(pipe: Any, task: str, recipe: Recipe | None, text: torch.Tensor, **changes: Any) -> torch.Tensor:
    """Return what the product's own request, scheduler and boundary make of *pipe*."""
    row = TASKS[task]
    spec = RenderSpec(task, "", row.size, False, row.fps, False, SEED, **changes)
    request = request_for(spec, sampling_for(spec, recipe, []), "out.mp4", (), [])  # type: ignore[arg-type]
    noise = torch.Generator().manual_seed(SEED)
    pipe.scheduler = scheduler_for(FOLDERS_OWN, request, noise, [])
    with _experts_parted_at(pipe, request.boundary):
        return pipe(
            prompt_embeds=text, height=64, width=64, num_frames=9, num_inference_steps=request.steps,
            guidance_scale=request.guidance, generator=noise, output_type="latent",
        ).frames  # fmt: skip


def far(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).norm() / other.norm())


@torch.no_grad()
@pytest.mark.parametrize("shift", [None, 12.0])
def test_four_steps_are_lightx2vs_loop(pair: Any, text: torch.Tensor, shift: float | None) -> None:
    ours = latents(pair, "t2v-A14B", LIGHTX2V_PAIR, text, shift=shift)

    # LightX2V's WanStepDistillScheduler (its table and step_post) and Wan22MoeDistillRunner's boundary_step_index.
    table = numpy.linspace(1, 0, 1001)[:-1]
    table = (shift or 5.0) * table / (1 + ((shift or 5.0) - 1) * table)
    sigmas = [float(table[1000 - step]) for step in (1000, 750, 500, 250)] + [0.0]
    clip = torch.randn(1, 16, 3, 8, 8, generator=torch.Generator().manual_seed(SEED))
    for step in range(4):
        expert = pair.transformer if step < 2 else pair.transformer_2
        times = torch.tensor([sigmas[step] * 1000])
        flow = expert(hidden_states=clip, timestep=times, encoder_hidden_states=text, return_dict=False)[0]
        clip = clip - sigmas[step] * flow + sigmas[step + 1] * flow

    assert far(ours, clip) < 1e-6
    assert pair.config.boundary_ratio == 0.875


@torch.no_grad()
def test_the_same_steps_without_the_recipe_are_another_clip(pair: Any, text: torch.Tensor) -> None:
    right = latents(pair, "t2v-A14B", LIGHTX2V_PAIR, text)

    assert far(latents(pair, "t2v-A14B", None, text, steps=4, guidance=1.0), right) > 0.05


@torch.no_grad()
def test_three_steps_are_fastvideos_loop(small: Any, text: torch.Tensor) -> None:
    ours = latents(small, "ti2v-5B", FASTWAN, text)

    # FastVideo's DmdDenoisingStage: the noise of the nearest time in a table with shift 8, in double precision.
    table = numpy.linspace(1, 1000, 1000, dtype=numpy.float32)[::-1] / 1000
    shares = torch.tensor(8 * table / (1 + 7 * table)).double()
    steps = (1000, 757, 522)
    sigmas = [shares[(shares * 1000 - step).abs().argmin()] for step in steps]
    generator = torch.Generator().manual_seed(SEED)
    clip = torch.randn(1, 48, 3, 4, 4, generator=generator)
    for step, time in enumerate(steps):
        times = torch.tensor([float(time)])
        flow = small.transformer(hidden_states=clip, timestep=times, encoder_hidden_states=text, return_dict=False)[0]
        clean = (clip.double() - sigmas[step] * flow.double()).float()
        clip = clean
        if step < 2:
            noise = torch.randn(clip.shape, generator=generator)
            clip = (1 - sigmas[step + 1].float()) * clean + sigmas[step + 1].float() * noise

    assert far(ours, clip) < 1e-3  # FastVideo's table has 756.757 where the model says 757


@torch.no_grad()
def test_numbers_of_the_request_reach_the_solver(small: Any, text: torch.Tensor) -> None:
    own = latents(small, "ti2v-5B", FASTWAN, text)

    assert far(latents(small, "ti2v-5B", FASTWAN, text, steps=6), own) > 1e-3
    assert far(latents(small, "ti2v-5B", FASTWAN, text, solver="unipc"), own) > 1e-3
