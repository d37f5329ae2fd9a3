"""The mini engine: real Wan pipelines over 14 MB of weights, which need no GPU."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from wanworker.engines._capabilities import MINI
from wanworker.engines.base import Forecast, Readiness, Rendered, Report
from wanworker.engines.resident.parent.progress import reporting
from wanworker.engines.resident.parent.start import resident
from wanworker.engines.resident.parent.supervisor import Supervisor
from wanworker.engines.resident.protocol import Adapter, Model, Render
from wanworker.media.threads import in_thread
from wanworker.media.video.sound import add_sound, sound_duration_s
from wanworker.media.video.writer import probe
from wanworker.models.files.loras import LoraFile
from wanworker.models.miniature.loras import own_loras
from wanworker.models.miniature.weights import miniature, names_a_thing, unknown_words
from wanworker.ranges import RANGES
from wanworker.recipes.sampling import Sampling, in_vain
from wanworker.settings import Settings, child_environment
from wanworker.spec import TASKS, RenderSpec, Size, nearest_frames

#: The frames of a clip without any given length: Wan's own default.
_FRAMES = 81

#: Its layers are so small that more threads only wait for one another. The user's own OMP_NUM_THREADS has priority.
_THREADS = 2

_NAMED_WORDS = 12

#: FastWAN's steps and guidance. Clients of the REST API send these documented defaults to whatever model renders.
_FASTWAN_NUMBERS = (8, 1.0)

#: A picture this small, in so many shades of a channel, has at most so many colours if it was drawn in flat shapes.
_LOOK_PX, _SHADES, _DRAWN_COLOURS = 64, 16, 250

log = logging.getLogger(__name__)


class MiniEngine:
    """Render any task with the miniature: a square of its own, enlarged and extended to the requested size."""

    def __init__(
        self,
        settings: Settings,
        *,
        supervisor: Supervisor | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        threads = {"OMP_NUM_THREADS": str(min(_THREADS, os.cpu_count() or 1))}
        self._supervisor = supervisor or resident({**threads, **child_environment(card=settings.card)})
        self._clock = clock

    def readiness(self, task: str) -> Readiness:
        """Say whether *task* exists. The weights come with the package."""
        return Readiness(missing=() if task in MINI.tasks else (f"mini does not render {task}",))

    async def forecast(self, spec: RenderSpec) -> Forecast:
        """Say what would be rendered; see Engine."""
        request, warnings = await _decided(spec, Path())
        return Forecast(
            miniature().name,
            _sampling_of(request),
            Size(request.out_width, request.out_height),
            request.out_frames,
            request.fps,
            warnings,
        )

    async def render(self, spec: RenderSpec, out_path: Path, *, work_dir: Path, report: Report) -> Rendered:
        """Render *spec*; see Engine."""
        silent_path = work_dir / "silent.mp4" if spec.audio else out_path
        request, warnings = await _decided(spec, silent_path)
        if _PHOTOGRAPH in warnings:
            log.warning(_PHOTOGRAPH)
        model = _model_of(spec.task)
        take = reporting(report, is_warm=self._supervisor.is_warm(model), clock=self._clock)
        done = await self._supervisor.render(model, request, take)
        if spec.audio:
            await add_sound(silent_path, spec.audio, out_path, duration_s=request.out_frames / spec.fps)
        lines = (*warnings, *done.warnings)
        return Rendered(miniature().name, lines, done.timings, sampling=_sampling_of(request))

    async def preload(self, task: str | None) -> None:
        """Load the weights; see PreloadingEngine."""
        await self._supervisor.preload(_model_of(task or next(iter(TASKS))))

    async def close(self) -> None:
        """End the child."""
        await self._supervisor.close()


async def _decided(spec: RenderSpec, out_path: Path) -> tuple[Render, tuple[str, ...]]:
    """Return the request for *spec*, and everything that is said of it before it is rendered."""
    frames = await _frames_of(spec)
    loras, warnings = own_loras(spec, miniature())
    request = request_for(spec, out_path, frames, loras)
    if spec.image is not None and await in_thread(is_photograph, spec.image):
        warnings += (_PHOTOGRAPH,)
    return request, (*warnings_of(spec, request), *warnings)


def _sampling_of(request: Render) -> Sampling:
    name = "the miniature's 4-step LoRA pair" if request.adapters else "the miniature's own numbers"
    guidance = (request.guidance_low, request.guidance)
    return Sampling(request.steps, guidance, request.shift, request.solver or "unipc", name=name)


def request_for(spec: RenderSpec, out_path: Path, frames: int, loras: Sequence[LoraFile] = ()) -> Render:
    """Return the request: the miniature's own size, length and numbers, and the requested form of the file. Pure."""
    own = miniature()
    numbers = own.pair if loras and own.pair else own
    size = own.nearest_size(spec.size)
    steps, guidance = (None, None) if _has_fastwan_numbers(spec) else (spec.steps, spec.guidance)
    guidance = numbers.guidance if guidance is None else guidance
    return Render(
        job=0,
        prompt=spec.prompt,
        negative_prompt=spec.negative_prompt or "",
        width=size.width,
        height=size.height,
        frames=own.frames,
        out_width=_even(spec.size.width),
        out_height=_even(spec.size.height),
        out_frames=frames,
        fps=spec.fps,
        crf=spec.crf,
        seed=spec.seed,
        steps=steps or numbers.steps,
        guidance=guidance,
        guidance_low=guidance if spec.guidance_low is None else spec.guidance_low,
        shift=numbers.shift if spec.shift is None else spec.shift,
        solver=spec.solver,
        image=str(spec.image) if spec.image else None,
        out_path=str(out_path),
        adapters=tuple(Adapter(str(lora.path), lora.expert, lora.strength) for lora in loras),
        max_text_tokens=own.max_text_tokens,
        background_only=not spec.image and not names_a_thing(spec.prompt),
    )


def _has_fastwan_numbers(spec: RenderSpec) -> bool:
    return spec.task == "ti2v-5B" and (spec.steps, spec.guidance) == _FASTWAN_NUMBERS


def is_photograph(path: Path) -> bool:
    """Say whether the picture *path* has more colours than one of flat shapes. Blocks for some milliseconds."""
    from PIL import Image  # only where a picture comes

    with Image.open(path) as picture:
        small = picture.convert("RGB").resize((_LOOK_PX, _LOOK_PX))
    return small.point(lambda value: value // _SHADES).getcolors(_DRAWN_COLOURS) is None


_PHOTOGRAPH = (
    "The picture has far more detail than the miniature can show: it draws it as a few flat shapes. A real model "
    "keeps a photograph."
)


def _model_of(task: str) -> Model:
    return Model(str(miniature().folder_of(task)), "cpu")


def warnings_of(spec: RenderSpec, request: Render) -> tuple[str, ...]:
    """Return the warnings about a clip that the miniature made. Pure."""
    own = (request.width, request.height, request.frames)
    made = (request.out_width, request.out_height, request.out_frames)
    enlarged = "" if own == made else f", enlarged to {made[0]}*{made[1]} and {made[2]} frames"
    lines = [
        f"Rendered by {miniature().name}, an embedded miniature that stands in for Wan 2.2: "
        f"{own[0]}*{own[1]} pixels and {own[2]} frames{enlarged}."
    ]
    if (request.out_width, request.out_height) != (spec.size.width, spec.size.height):
        lines.append(f"size {spec.size} was made even, {request.out_width}*{request.out_height}: H.264 needs that.")
    if unknown := unknown_words(spec.prompt):
        named = ", ".join(unknown[:_NAMED_WORDS]) + (" ..." if len(unknown) > _NAMED_WORDS else "")
        lines.append(
            f"The miniature does not know these words of the prompt: {named}. It knows simple shapes, colours, "
            'sizes, motions and places, of one thing or two: "a blue square under a yellow star in the snow".'
        )
    if request.background_only:
        lines.append("The prompt names nothing that the miniature can draw, so the clip shows a plain background.")
    if _has_fastwan_numbers(spec):
        lines.append(
            f"8 steps and guidance 1 are FastWAN's; the miniature used {request.steps} steps and guidance "
            f"{request.guidance:g}."
        )
    if request.adapters:
        numbers = f"{request.steps} steps, guidance {request.guidance:g}, shift {request.shift:g}"
        lines.append(f"Rendered with the 4-step LoRA pair: {numbers}.")
    lines += in_vain(spec, (request.guidance_low, request.guidance))
    if spec.audio:
        lines.append("The miniature does not follow the sound; the sound was joined to the video as it is.")
    if spec.driving_video or spec.prepared_dir:
        lines.append("The miniature does not follow the driving video; the picture moves as the prompt says.")
    return tuple(lines)


async def _frames_of(spec: RenderSpec) -> int:
    """Return the clip's length: that of the sound or the driving video, at most the requested frames."""
    seconds = None
    if spec.audio:
        seconds = await sound_duration_s(spec.audio)
    elif spec.driving_video:
        seconds = (await probe(spec.driving_video)).duration_s
    if seconds is None:
        return spec.frames or _FRAMES
    whole = min(nearest_frames(round(seconds * spec.fps)), int(RANGES["frames"].high))
    return min(whole, spec.frames) if spec.frames else whole


def _even(side: int) -> int:
    return side - side % 2
