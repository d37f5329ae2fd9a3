"""A diffusers folder as a function from a case to its clip: one at a time, on one thread, from a fixed seed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import torch
from diffusers import UniPCMultistepScheduler, WanImageToVideoPipeline, WanPipeline
from PIL import Image

from train_mini.checkers_masks import Pixels
from train_mini.evaluation_cases import Case, Plan

Rendering = Callable[[Case], Pixels]

_IMAGE_PIPELINE = "WanImageToVideoPipeline"

#: The two halves of a pair of LoRAs: what their names have, and whose they are.
_HALVES = (("high_noise", "transformer"), ("low_noise", "transformer_2"))


def kinds_of(folder: Path) -> tuple[str, ...]:
    """Return the kinds of cases that the weights in *folder* can be asked: text, a picture, or both."""
    index = _index(folder)
    if index["_class_name"] == _IMAGE_PIPELINE:
        return ("picture",)
    return ("single", "pair", "picture") if index["expand_timesteps"] else ("single", "pair")


def opened(folder: Path, plan: Plan) -> Rendering:
    """Load *folder* and return what renders a case as *plan* says.

    One network with `expand_timesteps` serves text and pictures; two experts have a folder for each.
    Raises OSError for a folder without a pipeline, FileNotFoundError where *plan* names LoRAs that are not there, and
    ValueError where they do not fit.
    """
    torch.set_num_threads(1)
    is_image = _index(folder)["_class_name"] == _IMAGE_PIPELINE
    pipe = (WanImageToVideoPipeline if is_image else WanPipeline).from_pretrained(folder, dtype=torch.float32)
    if plan.shift is not None:
        config = pipe.scheduler.config
        pipe.register_modules(scheduler=UniPCMultistepScheduler.from_config(config, flow_shift=plan.shift))
    if plan.loras is not None:
        _load_pair(pipe, plan.loras)
    by_kind = {"picture": pipe if is_image else _for_pictures(pipe), "single": pipe, "pair": pipe}
    for each in {id(pipe): pipe for pipe in by_kind.values()}.values():
        each.set_progress_bar_config(disable=True)

    def render(case: Case) -> Pixels:
        return _render(by_kind[case.kind], case, plan)

    return render


def _render(pipe: Any, case: Case, plan: Plan) -> Pixels:
    begins = {} if case.image is None else {"image": Image.fromarray(case.image)}
    (frames,) = pipe(
        prompt=case.prompt,
        height=plan.side,
        width=plan.side,
        num_frames=plan.frames,
        num_inference_steps=plan.steps,
        guidance_scale=plan.guidance,
        max_sequence_length=plan.max_text_tokens,
        generator=torch.Generator().manual_seed(case.seed),
        output_type="np",
        **begins,
    ).frames
    return numpy.asarray((frames * 255).round(), numpy.uint8)


def _for_pictures(pipe: Any) -> Any:
    """Return a pipeline of the same parts that takes a first frame: nothing is loaded twice."""
    return WanImageToVideoPipeline(
        **{name: part for name, part in pipe.components.items() if name != "image_encoder"},
        image_encoder=None,
        image_processor=None,
        boundary_ratio=pipe.config.boundary_ratio,
        expand_timesteps=pipe.config.expand_timesteps,
    )


def _load_pair(pipe: Any, folder: Path) -> None:
    for half, component in _HALVES:
        found = sorted(folder.glob(f"*{half}*.safetensors"))
        if len(found) != 1:
            raise FileNotFoundError(f"{folder} has {len(found)} files *{half}*.safetensors; one is needed")
        if getattr(pipe, component) is None:
            raise ValueError(f"{found[0].name} is for {component}, which these weights do not have")
        try:
            pipe.load_lora_weights(
                str(folder),
                weight_name=found[0].name,
                adapter_name=half,
                load_into_transformer_2=component == "transformer_2",
            )
        except RuntimeError as error:  # peft's, for matrices of another width
            raise ValueError(f"{found[0].name} does not fit {component}: {error}") from error
        # A file for other weights loads with a warning and changes nothing: the figures would be those without it.
        if half not in getattr(getattr(pipe, component), "peft_config", {}):
            raise ValueError(f"{found[0].name} holds no weights for {component}")


def _index(folder: Path) -> dict[str, Any]:
    index: dict[str, Any] = json.loads((folder / "model_index.json").read_text())
    return index
