"""The diffusers engine: Wan 2.2 weights in any layout, kept in memory between jobs."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from wanworker.engines._capabilities import DIFFUSERS as CAPABILITIES
from wanworker.engines.base import Forecast, Readiness, Rendered, Report
from wanworker.engines.model_sources import sources_of
from wanworker.engines.resident.parent.progress import reporting
from wanworker.engines.resident.parent.start import resident
from wanworker.engines.resident.parent.supervisor import Supervisor
from wanworker.engines.resident.placement.choice import Format, Plan, Weights
from wanworker.engines.resident.placement.peaks import Shape, shape_of, usual_shape
from wanworker.engines.resident.placement.planner import Planner, Probes, Wish
from wanworker.engines.resident.protocol import Adapter, Model, Part, Render
from wanworker.errors import InvalidRequest, ModelNotFound
from wanworker.models.files.loras import LoraFile, lora_files, loras_for
from wanworker.models.machine import hardware
from wanworker.models.machine.hardware import Gpu
from wanworker.models.sources.discover import Source
from wanworker.recipes.sampling import Sampling, in_vain, sampling_for
from wanworker.recipes.table import FASTWAN, Recipe, recipe_for
from wanworker.settings import Settings, child_environment
from wanworker.spec import TASKS, Profile, RenderSpec

#: Wan's guidance steers away from something; where the caller names nothing, from what nobody wants.
DEFAULT_NEGATIVE_PROMPT = (
    "blurry, low quality, overexposed, washed out, compression artifacts, text, subtitles, watermark, distorted face, "
    "deformed hands, extra limbs, frozen motion"
)

_LORA_UNKNOWN = "Parts of a LoRA file that this model does not take are named only when the file is loaded."


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """What of a job counts for the plan, beside its model: its shape, and what the caller wants."""

    shape: Shape
    profile: Profile | None = None
    offload: bool | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class _Decided:
    """Everything about a render before it begins: the request has no file yet, and `warnings` are all that is known."""

    source: Source
    wish: Wish
    plan: Plan
    sampling: Sampling
    request: Render
    warnings: tuple[str, ...]


class DiffusersEngine:
    """Render with any Wan 2.2 weights below the models folders, in a warm child process."""

    def __init__(
        self,
        settings: Settings,
        *,
        gpus: Callable[[], Sequence[Gpu]] | None = None,
        available_memory_mib: Callable[[], int | None] = hardware.available_memory_mib,
        free_gpu_memory_mib: Callable[[], int | None] | None = None,
        supervisor: Supervisor | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._places = settings.model_dirs
        self._profile = settings.profile
        self._sources = sources_of(settings)
        seen = settings.card.visible
        self._gpus = gpus or functools.partial(hardware.gpus, seen)
        free_mib = free_gpu_memory_mib or functools.partial(hardware.free_gpu_memory_mib, seen)
        self._planner = Planner(Probes(self._gpus, free_mib, available_memory_mib))
        self._supervisor = supervisor or resident(child_environment(card=settings.card))
        self._clock = clock

    def readiness(self, task: str) -> Readiness:
        """Say which weights are missing or damaged, and what the machine lacks for them."""
        if task not in CAPABILITIES.tasks:
            return Readiness(missing=(f"diffusers does not render {task}",))
        return self._readiness(task, self._sources.find(task), Job(usual_shape(task)))

    def readiness_for(self, spec: RenderSpec) -> Readiness:
        """Say the same of *spec*: of the models that it names, in its own size, frames and profile."""
        try:
            found, _ = self._sources.named(
                spec.task, spec.diffusion_models, vae=spec.vae_model, single_expert=spec.single_expert
            )
        except (ModelNotFound, InvalidRequest):  # `render` says so with the documented words
            found = self._sources.find(spec.task)
        return self._readiness(spec.task, found, _job_of(spec))

    async def forecast(self, spec: RenderSpec) -> Forecast:
        """Say what would be rendered. Before the first job nothing else counts on the card; see Engine."""
        decided = await asyncio.to_thread(self._decided, spec, self._planner.likely)
        return Forecast(
            decided.source.name,
            decided.sampling,
            spec.size,
            decided.request.frames,
            spec.fps,
            decided.warnings,
            decided.plan.to_json(),
            (_LORA_UNKNOWN,) if decided.request.adapters else (),
        )

    async def render(self, spec: RenderSpec, out_path: Path, *, work_dir: Path, report: Report) -> Rendered:  # noqa: ARG002 - the contract's; nothing is scratch here
        """Render *spec*; see Engine. Raises ModelNotFound when the weights or a LoRA are not there or not whole."""
        decided = await asyncio.to_thread(self._decided, spec, self._planner.plan)
        wish, plan, warnings = decided.wish, decided.plan, [*decided.warnings]
        smaller = self._planner.smaller(wish, plan)
        request = dataclasses.replace(
            decided.request, out_path=str(out_path), fallback=smaller.placement if smaller else None
        )
        model = await asyncio.to_thread(_model, decided.source, plan)
        take = reporting(report, is_warm=self._supervisor.is_warm(model), clock=self._clock)
        done = await self._supervisor.render(model, request, take)
        if smaller is not None and done.placement == smaller.placement:
            self._planner.was_too_large(wish, plan)
            warnings.append(f"The GPU's memory ran out; rendered with less of it in use ({_words(smaller)}).")
            plan = smaller
        lines = (*warnings, *done.warnings)
        return Rendered(decided.source.name, lines, done.timings, placement=plan.to_json(), sampling=decided.sampling)

    async def preload(self, task: str | None) -> None:
        """Load the weights of *task*; see PreloadingEngine. Raises ModelNotFound when they are not whole."""
        if task is None:
            raise InvalidRequest("diffusers loads the weights of a task; name one.")
        job = Job(usual_shape(task))
        source = await asyncio.to_thread(lambda: self._whole(job, self._sources.find(task), [])[0])
        wish = self._wish(source, job)
        plan = await asyncio.to_thread(self._planner.plan, wish, self._supervisor.pid)
        await self._supervisor.preload(await asyncio.to_thread(_model, source, plan))

    def renders_on_gpu(self) -> bool:
        """Say whether there is a GPU; see GpuEngine."""
        return bool(self._gpus())

    async def release_gpu(self) -> None:
        """End the child unless its weights are in main memory; see GpuEngine."""
        await self._supervisor.release_gpu()

    async def close(self) -> None:
        """End the child."""
        await self._supervisor.close()

    def _readiness(self, task: str, found: Sequence[Source], job: Job) -> Readiness:
        searched = tuple(str(place) for place in self._places)
        if not found:
            missing = f"no weights of {TASKS[task].folder} (a folder of diffusers or upstream, or ComfyUI's files)"
            return Readiness(missing=(missing, *self._sources.flaws(task)), searched=searched)
        best = self._best(found, job)
        plan = self._expected(best, job)
        return Readiness(missing=best.faults, searched=searched, lacking=plan.lacking, plan=plan.to_json())

    def _decided(self, spec: RenderSpec, place: Callable[[Wish, int | None], Plan]) -> _Decided:
        """Decide everything about *spec*; *place* says where the weights go. Raises ModelNotFound. Blocks."""
        source, notes = self._source(spec)
        chosen, warnings = self._loras(spec, source)
        adapters = tuple(Adapter(str(lora.path), lora.expert, lora.strength) for lora in chosen)
        wish = self._wish(source, _job_of(spec), adapters)
        plan = place(wish, self._supervisor.pid)
        sampling = sampling_for(spec, _recipe(source, chosen), warnings)
        request = request_for(spec, sampling, Path(), adapters, warnings)
        request = dataclasses.replace(request, placement=plan.placement)
        return _Decided(source, wish, plan, sampling, request, (*notes, *warnings))

    def _wish(self, source: Source, job: Job, adapters: Sequence[Adapter] = ()) -> Wish:
        """Return what is to be placed: each LoRA takes as much of the card as its file has, beside its expert."""
        sizes = dict(source.sizes_bytes)
        for adapter in adapters:
            name = "transformer" if adapter.expert == "high" else "transformer_2"
            sizes[name] = sizes.get(name, 0) + Path(adapter.path).stat().st_size
        weights = Weights(sizes, _format(source))
        return Wish(str(source.path), weights, job.shape, job.profile or self._profile, job.offload)

    def _loras(self, spec: RenderSpec, source: Source) -> tuple[tuple[LoraFile, ...], list[str]]:
        """Return the LoRAs of *spec*, and a line for everything inferred. Raises ModelNotFound."""
        if source.is_distilled and spec.use_lora and not spec.loras:
            return (), [f"use_lora was ignored: {source.name} is a few-step model already."]
        files = lora_files(self._places)
        try:
            chosen, warnings = loras_for(spec, files, experts=source.experts)
        except ModelNotFound as error:
            searched = ", ".join(f"{place}/loras" for place in self._places)
            raise ModelNotFound(f"{error} Searched: {searched}.", field=error.field) from error
        return tuple(LoraFile(files[name], expert, strength, name) for name, expert, strength in chosen), warnings

    def _source(self, spec: RenderSpec) -> tuple[Source, list[str]]:
        """Return the model of *spec*, and a line for everything inferred. Raises ModelNotFound."""
        found, warnings = self._sources.named(
            spec.task, spec.diffusion_models, vae=spec.vae_model, single_expert=spec.single_expert
        )
        return self._whole(_job_of(spec), found, warnings)

    def _whole(self, job: Job, found: Sequence[Source], warnings: list[str]) -> tuple[Source, list[str]]:
        """Return the best of *found* for *job* with *warnings*. Raises ModelNotFound unless it is whole."""
        if found and not (best := self._best(found, job)).faults:
            return best, warnings
        task = job.shape.task
        searched = ", ".join(str(place) for place in self._places)
        flaws = found[0].faults if found else self._sources.flaws(task)
        words = f": {'; '.join(flaws)}" if flaws else ""
        raise ModelNotFound(f"No whole {TASKS[task].folder} for the diffusers engine below {searched}{words}")

    def _best(self, found: Sequence[Source], job: Job) -> Source:
        """Return the first whole model that this machine has the memory for *job* with, else the first."""
        whole = [source for source in found if not source.faults]
        return next((source for source in whole if not self._expected(source, job).lacking), found[0])

    def _expected(self, source: Source, job: Job) -> Plan:
        return self._planner.expected(self._wish(source, job), self._supervisor.pid)


def _job_of(spec: RenderSpec) -> Job:
    return Job(shape_of(spec), spec.profile, spec.offload_model)


def _model(source: Source, plan: Plan) -> Model:
    """Return the model as its files are now."""
    device, stamp = plan.placement.device, source.stamp()
    if source.is_whole_folder:
        return Model(str(source.path), device, stamp=stamp, placement=plan.placement)
    parts = tuple(Part(component, str(path)) for component, path in source.parts.items())
    task = "" if source.is_folder else source.task  # a folder says itself how its parts work together
    return Model(str(source.path), device, task, parts, stamp, plan.placement)


def _format(source: Source) -> Format:
    """Return what the experts' matrices can be multiplied in: float8 where their file is fit for it, else bfloat16."""
    return "float8" if source.multiplies_float8 else "bfloat16"


def _words(plan: Plan) -> str:
    made = plan.placement
    return f"experts {made.experts}, text encoder {made.text_encoder}, VAE {made.vae}, {made.vae_dtype}, {made.decode}"


def _recipe(source: Source, loras: Sequence[LoraFile]) -> Recipe | None:
    """Return the few-step recipe of the weights: what the folder holds, or what its name or a LoRA's says. Pure."""
    in_hub_cache = source.path.parent.name == "snapshots"
    name = source.path.parent.parent.name if in_hub_cache else source.name
    return FASTWAN if source.is_distilled else recipe_for(models=[name], loras=[lora.name for lora in loras])


def request_for(
    spec: RenderSpec, sampling: Sampling, out_path: Path, adapters: tuple[Adapter, ...], warnings: list[str]
) -> Render:
    """Return the request with the task's defaults filled in; what has no effect is a line in *warnings*. Pure."""
    frames = spec.frames or TASKS[spec.task].frames or 81
    low, high = sampling.guidance
    warnings += in_vain(spec, sampling.guidance)
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
        crf=spec.crf,
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
