"""Load a folder in diffusers' layout: pipelines that share their components, on their device."""

from __future__ import annotations

import gc
import json
import logging
import warnings
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from wanworker.engines.resident.child._loras import Adapters
from wanworker.engines.resident.protocol import Model
from wanworker.errors import EngineUnavailable, InvalidRequest

#: FastVideo's name for a distilled 5B model; a plain WanPipeline loads it, its sampler is ours (sampling.py).
DISTILLED_CLASS = "WanDMDPipeline"


class Loaded:
    """
    One set of weights and the pipelines that share it.

    A folder with `expand_timesteps` (ti2v-5B) serves text and picture; the pipeline for the other is made when first
    wanted. `device` is where the components compute.
    """

    def __init__(self, pipe: Any, model: Model, *, is_distilled: bool) -> None:
        self.device = torch.device("cpu" if model.placement == "cpu" else "cuda")
        self.is_distilled = is_distilled
        self.adapters = Adapters()
        self.scheduler_config = dict(pipe.scheduler.config)
        self._offloads = model.placement == "offload"
        self._pipes = {type(pipe): pipe}
        self._active = pipe
        self._place(pipe)

    def pipeline(self, *, with_image: bool) -> Any:
        """Return the pipeline for a picture or for text alone. Raises InvalidRequest where the model has no such."""
        wanted = diffusers.WanImageToVideoPipeline if with_image else diffusers.WanPipeline
        if wanted not in self._pipes:
            if not self._active.config.expand_timesteps:
                raise InvalidRequest(
                    f"This model {'takes no image' if with_image else 'needs an image'}.", field="image"
                )
            self._pipes[wanted] = _sibling(self._active, wanted)
        pipe = self._pipes[wanted]
        if pipe is not self._active and self._offloads:
            # The hooks that move components belong to one pipeline at a time.
            self._active.remove_all_hooks()
            pipe.enable_model_cpu_offload()
        self._active = pipe
        return pipe

    def gpu_bytes_used(self) -> int:
        """Return the bytes of GPU memory that tensors hold now; 0 without a GPU."""
        return torch.cuda.memory_allocated() if self.device.type == "cuda" else 0

    def free(self) -> int:
        """Give back what a failed job left behind; return the bytes of GPU memory still held."""
        for pipe in self._pipes.values():
            pipe.maybe_free_model_hooks()
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return self.gpu_bytes_used()

    def _place(self, pipe: Any) -> None:
        if self._offloads:
            pipe.enable_model_cpu_offload()
        else:
            pipe.to(self.device)


def load(model: Model) -> Loaded:
    """
    Load the folder of *model*: bfloat16 with a float32 VAE on a GPU, float32 throughout on the CPU.

    Raises EngineUnavailable when a GPU is wanted and torch sees none.
    """
    _be_quiet()
    if model.placement != "cpu" and not torch.cuda.is_available():
        raise EngineUnavailable(
            f"There is a GPU, but torch {torch.__version__} cannot use it.",
            hint="Install a CUDA build of torch that fits the driver.",
        )
    folder = Path(model.folder)
    class_name = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))["_class_name"]
    is_image_only = class_name == diffusers.WanImageToVideoPipeline.__name__
    kind = diffusers.WanImageToVideoPipeline if is_image_only else diffusers.WanPipeline
    # Wan's VAE loses visible detail in bfloat16; upstream runs it in float32 as well (wan.md 1.8).
    dtype = {"default": torch.float32 if model.placement == "cpu" else torch.bfloat16, "vae": torch.float32}
    pipe = kind.from_pretrained(folder, dtype=dtype, local_files_only=True)
    return Loaded(pipe, model, is_distilled=class_name == DISTILLED_CLASS)


def _sibling(pipe: Any, kind: Any) -> Any:
    """Make the other pipeline over the same components."""
    shared = ("tokenizer", "text_encoder", "vae", "scheduler", "transformer", "transformer_2")
    sibling = kind(
        **{name: pipe.components[name] for name in shared},
        boundary_ratio=pipe.config.boundary_ratio,
        expand_timesteps=pipe.config.expand_timesteps,
    )
    sibling.set_progress_bar_config(disable=True)
    return sibling


def _be_quiet() -> None:
    """Bars and advice of the libraries help nobody here; their warnings still come, on stderr."""
    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
        library.utils.logging.set_verbosity_warning()
    logging.getLogger("py.warnings").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", category=FutureWarning)
