"""Each expert, and each half of the 4-step pair, changes its own steps of a run and no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import WanImageToVideoPipeline, WanPipeline
from PIL import Image

from train_mini.evaluation_cases import Plan, case_of
from wanworker.models.miniature.weights import miniature

SIDE, FRAMES = 128, 17
BOUNDARY_TIME = 875


class Run:
    """A pipeline over one of the miniature's folders, whose latents are seen after every step."""

    def __init__(self, kind: Any, folder: Path) -> None:
        torch.set_num_threads(1)
        self.pipe = kind.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
        self.pipe.set_progress_bar_config(disable=True)

    def latents(self, steps: int, guidance: float, **inputs: Any) -> tuple[list[torch.Tensor], int]:
        """Return the latents after each step, and how many steps were the high-noise expert's."""
        seen: list[torch.Tensor] = []
        times: list[float] = []

        def keep(_pipe: Any, _step: int, time: Any, values: dict[str, Any]) -> dict[str, Any]:
            seen.append(values["latents"].clone())
            times.append(float(time))
            return values

        case = case_of(Plan(), "picture", 0)
        if isinstance(self.pipe, WanImageToVideoPipeline):
            inputs["image"] = Image.fromarray(case.image)
        self.pipe(
            prompt=case.prompt, height=SIDE, width=SIDE, num_frames=FRAMES, num_inference_steps=steps,
            guidance_scale=guidance, max_sequence_length=64, generator=torch.Generator().manual_seed(3),
            output_type="latent", callback_on_step_end=keep, **inputs,
        )  # fmt: skip
        return seen, sum(time >= BOUNDARY_TIME for time in times)


@pytest.fixture(scope="module", params=[("t2v-A14B", WanPipeline), ("i2v-A14B", WanImageToVideoPipeline)])
def run(request: pytest.FixtureRequest) -> Run:
    task, kind = request.param
    return Run(kind, miniature().folder_of(task))


def equal_steps(left: list[torch.Tensor], right: list[torch.Tensor]) -> int:
    """Return after how many first steps the two runs are the same to the bit."""
    return next((i for i, (a, b) in enumerate(zip(left, right, strict=True)) if not torch.equal(a, b)), len(left))


def change(left: list[torch.Tensor], right: list[torch.Tensor], step: int) -> float:
    """Return how far the two runs are apart after *step*, in the latents' spread of 1."""
    return float((left[step] - right[step]).abs().mean())


@pytest.mark.parametrize(("swapped", "other"), [("transformer_2", "transformer"), ("transformer", "transformer_2")])
def test_another_expert_changes_its_own_part_of_the_run_only(run: Run, swapped: str, other: str) -> None:
    before, highs = run.latents(10, 4.0)
    pipe, own = run.pipe, getattr(run.pipe, swapped)
    try:
        pipe.register_modules(**{swapped: getattr(pipe, other)})
        after, _ = run.latents(10, 4.0)
    finally:
        pipe.register_modules(**{swapped: own})

    is_low = swapped == "transformer_2"
    assert 0 < highs < 10
    assert (highs if is_low else 0) == equal_steps(before, after)
    assert change(before, after, -1 if is_low else highs - 1) > 0.05
    assert change(before, after, -1) > 0.015  # in the clip, though the low expert mends what the high one does


@pytest.mark.parametrize("half", ["high", "low"])
def test_a_half_of_the_pair_changes_its_own_steps_only(run: Run, half: str) -> None:
    pair = miniature().pair
    assert pair is not None
    path = pair.high if half == "high" else pair.low
    before, highs = run.latents(4, 1.0)
    run.pipe.load_lora_weights(
        str(path.parent), weight_name=path.name, adapter_name=half, load_into_transformer_2=half == "low"
    )
    try:
        with_half, _ = run.latents(4, 1.0)
    finally:
        run.pipe.unload_lora_weights()

    assert 0 < highs < 4
    assert (0 if half == "high" else highs) == equal_steps(before, with_half)
    assert change(before, with_half, highs - 1 if half == "high" else -1) > 0.02
    # The low expert brings a given first frame back, and with it most of what the high half changed.
    is_mended = half == "high" and isinstance(run.pipe, WanImageToVideoPipeline)
    assert change(before, with_half, -1) > (0.005 if is_mended else 0.015)
