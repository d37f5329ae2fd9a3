"""The diffusers engine: Wan 2.2 weights in diffusers' layout, kept in memory between jobs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from wanworker.engines._capabilities import DIFFUSERS as CAPABILITIES
from wanworker.engines.base import Readiness, Rendered, Report
from wanworker.engines.resident.parent.progress import reporting
from wanworker.engines.resident.parent.start import resident
from wanworker.engines.resident.parent.supervisor import Supervisor
from wanworker.engines.resident.placement import lacking_for, placement_for
from wanworker.engines.resident.protocol import Adapter, Model, Render
from wanworker.errors import InvalidRequest, ModelNotFound
from wanworker.models.files.layouts import Layouts, WanFolder
from wanworker.models.files.loras import LoraFile, lora_files, loras_for
from wanworker.models.machine import hardware
from wanworker.models.machine.hardware import Gpu
from wanworker.recipes.sampling import Sampling, sampling_for
from wanworker.recipes.table import FASTWAN, Recipe, recipe_for
from wanworker.settings import Settings, child_environment
from wanworker.spec import TASKS, RenderSpec

#: Wan's guidance steers away from something; where the caller names nothing, from what nobody wants.
DEFAULT_NEGATIVE_PROMPT = (
    "blurry, low quality, overexposed, washed out, compression artifacts, text, subtitles, watermark, distorted face, "
    "deformed hands, extra limbs, frozen motion"
)


class DiffusersEngine:
    """Render with any diffusers-layout Wan 2.2 folder below the models folders, in a warm child process."""

    def __init__(
        self,
        settings: Settings,
        *,
        gpus: Callable[[], Sequence[Gpu]] = hardware.gpus,
        available_memory_mib: Callable[[], int | None] = hardware.available_memory_mib,
        supervisor: Supervisor | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._places = settings.model_dirs
        self._layouts = Layouts(self._places)
        self._gpus = gpus
        self._available_memory_mib = available_memory_mib
        self._supervisor = supervisor or resident(child_environment())
        self._clock = clock

    def readiness(self, task: str) -> Readiness:
        """Say which weights are missing or damaged, and what the machine lacks for them."""
        searched = tuple(str(place) for place in self._places)
        if task not in CAPABILITIES.tasks:
            return Readiness(missing=(f"diffusers does not render {task}",))
        folders = self._layouts.find(task)
        if not folders:
            missing = f"no {TASKS[task].folder}-Diffusers folder (model_index.json of a Wan pipeline)"
            return Readiness(missing=(missing,), searched=searched)
        lacking = lacking_for(folders[0].sizes_bytes, self._gpus(), self._available_memory_mib())
        return Readiness(missing=folders[0].faults, searched=searched, lacking=lacking)

    async def render(self, spec: RenderSpec, out_path: Path, *, work_dir: Path, report: Report) -> Rendered:  # noqa: ARG002 - the contract's; nothing is scratch here
        """Render *spec*; see Engine. Raises ModelNotFound when the weights or a LoRA are not there or not whole."""
        folder = self._folder(spec.task)
        chosen, warnings = self._loras(spec, folder)
        adapters = tuple(Adapter(str(lora.path), lora.expert, lora.strength) for lora in chosen)
        model = self._model(folder, spec.offload_model)
        sampling = sampling_for(spec, _recipe(folder, chosen), warnings)
        request = request_for(spec, sampling, out_path, adapters, warnings)
        take = reporting(report, is_warm=self._supervisor.is_warm(model), clock=self._clock)
        done = await self._supervisor.render(model, request, take)
        return Rendered(folder.path.name, (*warnings, *done.warnings), done.timings)

    async def preload(self, task: str | None) -> None:
        """Load the weights of *task*; see PreloadingEngine. Raises ModelNotFound when they are not whole."""
        if task is None:
            raise InvalidRequest("diffusers loads the weights of a task; name one.")
        folder = await asyncio.to_thread(self._folder, task)
        await self._supervisor.preload(self._model(folder, None))

    def renders_on_gpu(self) -> bool:
        """Say whether there is a GPU; see GpuEngine."""
        return bool(self._gpus())

    async def release_gpu(self) -> None:
        """End the child unless its weights are in main memory; see GpuEngine."""
        await self._supervisor.release_gpu()

    async def close(self) -> None:
        """End the child."""
        await self._supervisor.close()

    def _model(self, folder: WanFolder, offload: bool | None) -> Model:
        return Model(str(folder.path), placement_for(folder.sizes_bytes, self._gpus(), offload))

    def _loras(self, spec: RenderSpec, folder: WanFolder) -> tuple[tuple[LoraFile, ...], list[str]]:
        """Return the LoRAs of *spec*, and a line for everything inferred. Raises ModelNotFound."""
        if folder.is_distilled and spec.use_lora and not spec.loras:
            return (), [f"use_lora was ignored: {folder.path.name} is a few-step model already."]
        files = lora_files(self._places)
        try:
            chosen, warnings = loras_for(spec, files, experts=folder.experts)
        except ModelNotFound as error:
            searched = ", ".join(f"{place}/loras" for place in self._places)
            raise ModelNotFound(f"{error} Searched: {searched}.", field=error.field) from error
        return tuple(LoraFile(files[name], expert, strength, name) for name, expert, strength in chosen), warnings

    def _folder(self, task: str) -> WanFolder:
        folders = self._layouts.find(task)
        if folders and not folders[0].faults:
            return folders[0]
        searched = ", ".join(str(place) for place in self._places)
        faults = f": {'; '.join(folders[0].faults)}" if folders else ""
        raise ModelNotFound(f"No whole {TASKS[task].folder} in diffusers' layout below {searched}{faults}")


def _recipe(folder: WanFolder, loras: Sequence[LoraFile]) -> Recipe | None:
    """Return the few-step recipe of the weights: what the folder holds, or what its name or a LoRA's says. Pure."""
    in_hub_cache = folder.path.parent.name == "snapshots"
    name = folder.path.parent.parent.name if in_hub_cache else folder.path.name
    return FASTWAN if folder.is_distilled else recipe_for(models=[name], loras=[lora.name for lora in loras])


def request_for(
    spec: RenderSpec, sampling: Sampling, out_path: Path, adapters: tuple[Adapter, ...], warnings: list[str]
) -> Render:
    """Return the request with the task's defaults filled in; what has no effect is a line in *warnings*. Pure."""
    frames = spec.frames or TASKS[spec.task].frames or 81
    low, high = sampling.guidance
    if spec.negative_prompt and high <= 1:
        warnings.append("negative_prompt had no effect: it needs a guidance scale above 1.")
    if high <= 1 < low:
        warnings.append("guidance_scale_2 had no effect: a guidance scale of 1 or less turns guidance off for both.")
    return Render(
        job=0,
        prompt=spec.prompt,
        negative_prompt=DEFAULT_NEGATIVE_PROMPT if spec.negative_prompt is None else spec.negative_prompt,
        width=spec.size.width,
        height=spec.size.height,
        frames=frames,
        out_width=spec.size.width,
        out_height=spec.size.height,
        out_frames=frames,
        fps=spec.fps,
        seed=spec.seed,
        steps=sampling.steps,
        guidance=high,
        guidance_low=low,
        shift=sampling.shift,
        solver=sampling.solver,
        noise=sampling.noise,
        boundary=sampling.boundary,
        image=str(spec.image) if spec.image else None,
        last_image=str(spec.last_image) if spec.last_image else None,
        out_path=str(out_path),
        adapters=adapters,
    )
