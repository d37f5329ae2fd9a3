"""Load a model: pipelines that share their components, on their device."""

from __future__ import annotations

import copy
import gc
import json
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from wanworker.engines.resident.child._loras import Adapters
from wanworker.engines.resident.child._residence import Copier, Residence
from wanworker.engines.resident.child.weights.parts import Kept, Place, Report, load_parts, multiply
from wanworker.engines.resident.protocol import Model, Placement
from wanworker.errors import EngineUnavailable, InvalidRequest, ModelNotFound
from wanworker.models.files.layouts import components_of
from wanworker.models.sources.checkpoint import CannotLoad
from wanworker.spec import TASKS

#: Wan's own flow scheduler; a job sets its shift.
_SCHEDULER = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 5.0}


class Loaded:
    """
    One set of weights and the pipelines that share it.

    A model with `expand_timesteps` (ti2v-5B) serves text and picture; the pipeline for the other is made when first
    wanted. `device` is where the components compute, `residence` what brings them there; `kept` has what the next model
    may share.
    """

    def __init__(self, pipe: Any, model: Model, *, kept: Kept | None = None, copier: Copier | None = None) -> None:
        self.device = torch.device(model.device)
        self.adapters = Adapters()
        self.scheduler_config = dict(pipe.scheduler.config)
        self.kept = kept or Kept()
        self._pipes = {type(pipe): pipe}
        self._vaes = {"float32": pipe.vae}
        parts = {name: part for name, part in pipe.components.items() if isinstance(part, torch.nn.Module)}
        self.residence = Residence(parts, self.device, copier)
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
        pipe = next(iter(self._pipes.values()))
        experts = [expert for expert in (pipe.transformer, pipe.transformer_2) if expert is not None]
        multiply(experts, in_float8=placement.matmul == "scaled_mm")
        self.residence.follow(placement)

    def settle(self) -> None:
        """Wait until the device has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def gpu_bytes_used(self) -> int:
        """Return the bytes of GPU memory that tensors hold now; 0 without a GPU."""
        return torch.cuda.memory_allocated() if self.device.type == "cuda" else 0

    def let_go(self) -> Kept:
        """Take from the device what need not be there, and return what the next model may share. Its last use."""
        self.free()
        return self.kept

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
            whole = self._vaes["float32"]
            slab, whole.slab = getattr(whole, "slab", None), None  # the copy has no block of its own to come from
            # torch's own `to`: that of diffusers warns of parts that are kept in float32, though the VAE has none.
            self._vaes[dtype] = torch.nn.Module.to(copy.deepcopy(whole), getattr(torch, dtype))
            whole.slab = slab
        return self._vaes[dtype]


def load(model: Model, report: Report, kept: Kept | None = None) -> Loaded:
    """
    Load *model*: bfloat16 with a float32 VAE on a GPU, float32 throughout on the CPU; every byte is in memory then.

    *report* is told the bytes that are read and those of all; *kept* is what the model before had. Raises
    EngineUnavailable when a GPU is wanted and torch sees none, ModelNotFound when a file cannot be loaded right.
    """
    _be_quiet()
    if model.is_on_gpu and not torch.cuda.is_available():
        raise EngineUnavailable(
            f"There is a GPU, but torch {torch.__version__} cannot use it.",
            hint="Install a CUDA build of torch that fits the driver.",
        )
    if model.is_on_gpu:
        torch.cuda.empty_cache()  # what the model before had is free, and torch still holds it
    kept = kept or Kept()
    paths = {part.component: part.path for part in model.parts} or _paths_of_folder(Path(model.folder))
    placement = model.placement or Placement(model.device)
    place = Place(
        torch.device(model.device),
        torch.bfloat16 if model.is_on_gpu else torch.float32,
        waiting=frozenset(name for name in paths if placement.rule_of(name) != "resident"),
    )
    try:
        parts = load_parts({name: path for name, path in paths.items() if name != "scheduler"}, place, kept, report)
    except CannotLoad as error:
        raise ModelNotFound(
            f"The model {Path(model.folder).name} cannot be loaded: {error}",
            hint="`wanworker doctor` lists damaged files, and `wanworker fetch` gets them again.",
        ) from error
    wiring = _wiring_of_task(model) if model.task else _wiring_of_folder(Path(model.folder))
    return Loaded(_pipeline(parts, paths, wiring), model, kept=kept)


@dataclass(frozen=True, slots=True)
class _Wiring:
    """How the parts of a pipeline work together."""

    takes_image_only: bool
    boundary_ratio: float | None
    expand_timesteps: bool


def _paths_of_folder(folder: Path) -> dict[str, str]:
    return {name: str(path) for name, path in components_of(folder).items()}


def _wiring_of_folder(folder: Path) -> _Wiring:
    """Read what the folder of a whole pipeline says of itself."""
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    return _Wiring(
        index["_class_name"] == diffusers.WanImageToVideoPipeline.__name__,
        index.get("boundary_ratio"),
        bool(index.get("expand_timesteps")),
    )


def _wiring_of_task(model: Model) -> _Wiring:
    """Wire parts as the released model of the task is; one expert alone renders all steps."""
    task = TASKS[model.task]
    has_two = any(part.component == "transformer_2" for part in model.parts)
    return _Wiring(task.needs_image, task.boundary if has_two else None, task.boundary is None)


def _pipeline(parts: dict[str, Any], paths: dict[str, str], wiring: _Wiring) -> Any:
    kind = diffusers.WanImageToVideoPipeline if wiring.takes_image_only else diffusers.WanPipeline
    scheduler = diffusers.UniPCMultistepScheduler
    own = paths.get("scheduler")
    pipe = kind(
        **{name: parts.get(name) for name in ("tokenizer", "text_encoder", "vae", "transformer", "transformer_2")},
        scheduler=scheduler.from_pretrained(own) if own else scheduler(**_SCHEDULER),
        boundary_ratio=wiring.boundary_ratio,
        expand_timesteps=wiring.expand_timesteps,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


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
