"""Load a folder in diffusers' layout: pipelines that share their components, on their device."""

from __future__ import annotations

import copy
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
from wanworker.engines.resident.child._residence import Residence
from wanworker.engines.resident.protocol import Model, Placement
from wanworker.errors import EngineUnavailable, InvalidRequest

#: FastVideo's name for a distilled 5B model; a plain WanPipeline loads it, its sampler is ours (sampling.py).
DISTILLED_CLASS = "WanDMDPipeline"


class Loaded:
    """
    One set of weights and the pipelines that share it.

    A folder with `expand_timesteps` (ti2v-5B) serves text and picture; the pipeline for the other is made when first
    wanted. `device` is where the components compute, `residence` what brings them there.
    """

    def __init__(self, pipe: Any, model: Model, *, is_distilled: bool) -> None:
        self.device = torch.device(model.device)
        self.is_distilled = is_distilled
        self.adapters = Adapters()
        self.scheduler_config = dict(pipe.scheduler.config)
        self._pipes = {type(pipe): pipe}
        self._vaes = {"float32": pipe.vae}
        parts = {name: part for name, part in pipe.components.items() if isinstance(part, torch.nn.Module)}
        self.residence = Residence(parts, self.device)
        self.follow(model.placement or Placement(model.device))

    @property
    def vae(self) -> Any:
        """The VAE of the placement's number type."""
        return next(iter(self._pipes.values())).vae

    def pipeline(self, *, with_image: bool) -> Any:
        """Return the pipeline for a picture or for text alone. Raises InvalidRequest where the model has no such."""
        wanted = diffusers.WanImageToVideoPipeline if with_image else diffusers.WanPipeline
        if wanted not in self._pipes:
            made = next(iter(self._pipes.values()))
            if not made.config.expand_timesteps:
                raise InvalidRequest(
                    f"This model {'takes no image' if with_image else 'needs an image'}.", field="image"
                )
            self._pipes[wanted] = _sibling(made, wanted)
        return self._pipes[wanted]

    def follow(self, placement: Placement) -> None:
        """Have the components where *placement* says, and the VAE in its number type and manner."""
        vae = self._vae_of(placement.vae_dtype)
        if vae is not self.vae:
            self.residence.replace("vae", vae)
            for pipe in self._pipes.values():
                pipe.vae = vae
        if placement.decode == "tiled":
            vae.enable_tiling()
        else:
            vae.disable_tiling()
        self.residence.follow(placement)

    def settle(self) -> None:
        """Wait until the device has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def gpu_bytes_used(self) -> int:
        """Return the bytes of GPU memory that tensors hold now; 0 without a GPU."""
        return torch.cuda.memory_allocated() if self.device.type == "cuda" else 0

    def free(self) -> int:
        """Give back what a failed job left behind; return the bytes on the GPU that are no component's."""
        for vae in self._vaes.values():
            vae.clear_cache()
        self.residence.withdraw()
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return self.gpu_bytes_used() - self.residence.device_bytes()

    def _vae_of(self, dtype: str) -> Any:
        """Return the VAE in *dtype*: bfloat16 is a copy, for the float32 one would not come back from it."""
        if dtype not in self._vaes:
            self._vaes[dtype] = copy.deepcopy(self._vaes["float32"]).to(getattr(torch, dtype))
        return self._vaes[dtype]


def load(model: Model) -> Loaded:
    """
    Load the folder of *model*: bfloat16 with a float32 VAE on a GPU, float32 throughout on the CPU.

    Raises EngineUnavailable when a GPU is wanted and torch sees none.
    """
    _be_quiet()
    if model.is_on_gpu and not torch.cuda.is_available():
        raise EngineUnavailable(
            f"There is a GPU, but torch {torch.__version__} cannot use it.",
            hint="Install a CUDA build of torch that fits the driver.",
        )
    folder = Path(model.folder)
    class_name = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))["_class_name"]
    is_image_only = class_name == diffusers.WanImageToVideoPipeline.__name__
    kind = diffusers.WanImageToVideoPipeline if is_image_only else diffusers.WanPipeline
    # Wan's VAE loses visible detail in bfloat16; upstream runs it in float32 as well (wan.md 1.8).
    dtype = {"default": torch.bfloat16 if model.is_on_gpu else torch.float32, "vae": torch.float32}
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
