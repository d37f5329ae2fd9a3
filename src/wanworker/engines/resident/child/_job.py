"""Render one job in the child: encode the text, sample, decode, and write the frames."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from PIL import Image, ImageOps

from wanworker.engines.resident.child._decoding import decoded, denormalised
from wanworker.engines.resident.child._failures import StoppedByParent, is_out_of_memory
from wanworker.engines.resident.child._frame_writer import FrameWriter
from wanworker.engines.resident.child._loading import Loaded
from wanworker.engines.resident.child._schedulers import scheduler_for
from wanworker.engines.resident.protocol import Done, Render
from wanworker.errors import EngineFailed, InputUnavailable
from wanworker.media.video.writer import DEFAULT_CRF, VideoWriter

log = logging.getLogger(__name__)

T = TypeVar("T")


class JobHooks(Protocol):
    """What a job may say and ask while it runs."""

    def stage(self, name: str) -> None:
        """Say which stage begins."""

    def step(self, stage: str, step: int, steps: int) -> None:
        """Say that *step* of *steps* of the stage is done."""

    def must_stop(self) -> bool:
        """Ask whether the job was cancelled."""


class _Watch:
    """
    Say each stage as it begins, time it, and stop the job between two of them.

    *settle* waits for what a GPU has still to do: without it a stage would end when its work is ordered.
    """

    def __init__(self, outside: JobHooks, settle: Callable[[], None]) -> None:
        self.timings: dict[str, float] = {}
        self._outside, self._settle = outside, settle
        self._since = time.perf_counter()

    def begins(self, stage: str) -> None:
        if self._outside.must_stop():
            raise StoppedByParent
        self._settle()
        self._since = time.perf_counter()
        self._outside.stage(stage)

    def ends(self, timing: str) -> None:
        self._settle()
        self.timings[timing] = time.perf_counter() - self._since


def render(loaded: Loaded, request: Render, outside: JobHooks) -> Done:
    """
    Render *request* into its file and say what it took.

    The same request and seed give the same bytes: noise comes from a CPU generator. Raises StoppedByParent, or any
    error of wanworker.errors, torch or diffusers; no file is left then.
    """
    warnings: list[str] = []
    watch = _Watch(outside, loaded.settle)
    with torch.inference_mode(False), torch.no_grad():
        pipe = loaded.pipeline(with_image=request.image is not None)

        def sampled() -> torch.Tensor:
            warnings.extend(loaded.adapters.use(pipe, request.adapters))
            watch.begins("text")
            embeddings = _encode_text(pipe, request, loaded)
            watch.ends("text_s")
            watch.begins("sampling")
            latents = _sample(pipe, request, loaded, embeddings, outside, warnings)
            watch.ends("denoise_s")
            return latents

        attempts = _Attempts(loaded, request)
        latents = attempts.made(sampled)
        attempts.made(lambda: _develop(loaded, latents, request, outside, watch))
    return Done(request.job, watch.timings, tuple(dict.fromkeys(warnings)), attempts.placement)


class _Attempts:
    """
    Have the parts of a job made in its placement; one that runs out of memory is made once more in the fallback.

    What was made before it stays: a clip that was sampled and cannot be decoded is not sampled again.
    """

    def __init__(self, loaded: Loaded, request: Render) -> None:
        self._loaded = loaded
        self._fallback = request.fallback
        self.placement = request.placement

    def made(self, part: Callable[[], T]) -> T:
        """Return what *part* returns. Raises what it raises, in the fallback or where there is none."""
        try:
            self._loaded.follow(self.placement)
            return part()
        except Exception as error:
            if self._fallback is None or not is_out_of_memory(error):
                raise
            log.warning("out of memory in %s; once more in %s", self.placement, self._fallback)
        # Only here, where the exception and its frames with their tensors are gone, can memory be given back.
        self._loaded.free()
        self.placement, self._fallback = self._fallback, None
        self._loaded.follow(self.placement)
        return part()


def _encode_text(pipe: Any, request: Render, loaded: Loaded) -> dict[str, Any]:
    positive, negative = pipe.encode_prompt(
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        do_classifier_free_guidance=request.guidance > 1,
        max_sequence_length=request.max_text_tokens,
        device=loaded.residence.need("text_encoder"),
    )
    negative = negative if negative is None else negative.to(loaded.device)
    return {"prompt_embeds": positive.to(loaded.device), "negative_prompt_embeds": negative}


def _sample(
    pipe: Any, request: Render, loaded: Loaded, embeddings: dict[str, Any], outside: JobHooks, warnings: list[str]
) -> torch.Tensor:
    noise = torch.Generator("cpu").manual_seed(request.seed)
    pipe.scheduler = scheduler_for(loaded.scheduler_config, request, noise, warnings)

    def after_step(running: Any, step: int, _time: object, values: dict[str, Any]) -> dict[str, Any]:
        outside.step("sampling", step + 1, request.steps)
        if outside.must_stop():
            running._interrupt = True  # the pipelines' own way to end early, though private by its name
        return values

    loaded.residence.need("vae" if request.image else "transformer")
    with _experts_parted_at(pipe, request.boundary):
        latents: torch.Tensor = pipe(
            **embeddings,
            **_pictures(request),
            height=request.height,
            width=request.width,
            num_frames=request.frames,
            num_inference_steps=request.steps,
            guidance_scale=request.guidance,
            guidance_scale_2=request.guidance_low if pipe.config.boundary_ratio is not None else None,
            generator=noise,
            output_type="latent",
            callback_on_step_end=after_step,
        ).frames
    _heed(outside)
    if not torch.isfinite(latents).all():
        raise EngineFailed("The model gave numbers that are not finite (NaN); its weights may be damaged.")
    return latents


@contextlib.contextmanager
def _experts_parted_at(pipe: Any, boundary: float | None) -> Iterator[None]:
    """Have the low-noise expert take over below this share of noise meanwhile; None, or one expert: as it is."""
    own = pipe.config.boundary_ratio
    if own is None or boundary is None:
        yield
        return
    pipe.register_to_config(boundary_ratio=boundary)
    try:
        yield
    finally:
        pipe.register_to_config(boundary_ratio=own)


def _pictures(request: Render) -> dict[str, Image.Image]:
    """Open the pictures: what of them is rendered, at the size that is rendered."""
    paths = {"image": request.image, "last_image": request.last_image}
    size = (request.width, request.height)
    return {
        name: ImageOps.fit(_picture(path, request), size, Image.Resampling.LANCZOS)
        for name, path in paths.items()
        if path is not None
    }


def _picture(path: str, request: Render) -> Image.Image:
    """Open a picture, cropped and brought to the file's size."""
    try:
        with Image.open(path) as opened:
            upright = ImageOps.exif_transpose(opened).convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise InputUnavailable(f"The image {Path(path).name} cannot be read: {error}", field="image") from error
    return ImageOps.fit(upright, (request.out_width, request.out_height), Image.Resampling.LANCZOS)


def _develop(loaded: Loaded, latents: torch.Tensor, request: Render, outside: JobHooks, watch: _Watch) -> None:
    """Decode *latents* piece by piece, and write each while the next is decoded."""
    watch.begins("decoding")
    device = loaded.residence.need("vae")
    pieces = decoded(loaded.vae, denormalised(loaded.vae, latents, device))
    crf = DEFAULT_CRF if request.crf is None else request.crf
    writer = VideoWriter(Path(request.out_path), request.out_width, request.out_height, request.fps, crf=crf)
    is_small = (request.width, request.height) != (request.out_width, request.out_height)
    beyond = _picture(request.image, request) if request.image and is_small else None
    with writer, FrameWriter(writer, request, beyond) as film:
        with contextlib.closing(pieces):
            for number, piece in enumerate(pieces, 1):
                film.add(piece)
                outside.step("decoding", number, latents.shape[2])
                _heed(outside)
        watch.ends("decode_s")
        watch.begins("encoding")
        for frame in film.written():
            outside.step("encoding", frame, request.out_frames)
            _heed(outside)
    watch.ends("encode_s")


def _heed(outside: JobHooks) -> None:
    if outside.must_stop():
        raise StoppedByParent
