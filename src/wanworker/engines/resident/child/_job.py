"""Render one job in the child: encode the text, sample, decode, and write the frames."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy
import torch
from PIL import Image, ImageOps

from wanworker.engines.resident.child._failures import StoppedByParent
from wanworker.engines.resident.child._loading import Loaded
from wanworker.engines.resident.child._schedulers import scheduler_for
from wanworker.engines.resident.protocol import Done, Render
from wanworker.errors import EngineFailed, InputUnavailable
from wanworker.media.video.writer import VideoWriter

if TYPE_CHECKING:
    Frame: TypeAlias = numpy.ndarray[tuple[int, int, int], numpy.dtype[numpy.uint8]]
    Frames: TypeAlias = numpy.ndarray[tuple[int, int, int, int], numpy.dtype[numpy.uint8]]


def resampled(frames: Frames, *, width: int, height: int, count: int) -> Iterator[bytes]:
    """
    Yield *count* RGB frames of *width* x *height* from *frames* (shape (n, h, w, 3)), one in memory at a time.

    The first and the last frame stay where they are; between two frames the picture is their weighted mean, which
    moves evenly where repeating frames would jerk (17 frames last five seconds). Lanczos keeps edges crisper than
    bicubic; sharpening after it draws halos around every shape.
    """
    for position in numpy.linspace(0, len(frames) - 1, count):
        picture = Image.fromarray(_between(frames, float(position)))
        if picture.size != (width, height):
            picture = picture.resize((width, height), Image.Resampling.LANCZOS)
        yield picture.tobytes()


def _between(frames: Frames, position: float) -> Frame:
    first = min(int(position), len(frames) - 1)
    second = min(first + 1, len(frames) - 1)
    share = position - first
    mixed: Frame = (frames[first] * (1 - share) + frames[second] * share).round().astype(frames.dtype)
    return mixed


class JobHooks(Protocol):
    """What a job may say and ask while it runs."""

    def stage(self, name: str) -> None:
        """Say which stage begins."""

    def step(self, stage: str, step: int, steps: int) -> None:
        """Say that *step* of *steps* of the stage is done."""

    def must_stop(self) -> bool:
        """Ask whether the job was cancelled."""


class _Watch:
    """Say each stage as it begins, time it, and stop the job between two of them."""

    def __init__(self, outside: JobHooks) -> None:
        self.timings: dict[str, float] = {}
        self._outside = outside
        self._since = time.perf_counter()

    def begins(self, stage: str) -> None:
        if self._outside.must_stop():
            raise StoppedByParent
        self._since = time.perf_counter()
        self._outside.stage(stage)

    def ends(self, timing: str) -> None:
        self.timings[timing] = time.perf_counter() - self._since


def render(loaded: Loaded, request: Render, outside: JobHooks) -> Done:
    """
    Render *request* into its file and say what it took.

    The same request and seed give the same bytes: noise comes from a CPU generator. Raises StoppedByParent, or any
    error of wanworker.errors, torch or diffusers; no file is left then.
    """
    warnings: list[str] = []
    watch = _Watch(outside)
    with torch.inference_mode(False), torch.no_grad():
        pipe = loaded.pipeline(with_image=request.image is not None)
        warnings += loaded.adapters.use(pipe, request.adapters)
        watch.begins("text")
        embeddings = _encode_text(pipe, request, loaded.device)
        watch.ends("text_s")
        watch.begins("sampling")
        latents = _sample(pipe, request, loaded, embeddings, outside, warnings)
        watch.ends("denoise_s")
        watch.begins("decoding")
        video = _decode(pipe, latents, loaded.device)
        pipe.maybe_free_model_hooks()
        watch.ends("decode_s")
    watch.begins("encoding")
    _write(video, request, outside)
    watch.ends("encode_s")
    return Done(request.job, watch.timings, tuple(warnings))


def _encode_text(pipe: Any, request: Render, device: torch.device) -> dict[str, Any]:
    positive, negative = pipe.encode_prompt(
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        do_classifier_free_guidance=request.guidance > 1,
        max_sequence_length=request.max_text_tokens,
        device=device,
    )
    return {"prompt_embeds": positive, "negative_prompt_embeds": negative}


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
    if outside.must_stop():
        raise StoppedByParent
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
    """Open the pictures, cropped to the file's aspect and brought to the size that is rendered."""
    paths = {"image": request.image, "last_image": request.last_image}
    return {name: _picture(Path(path), request) for name, path in paths.items() if path is not None}


def _picture(path: Path, request: Render) -> Image.Image:
    try:
        with Image.open(path) as opened:
            upright = ImageOps.exif_transpose(opened).convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise InputUnavailable(f"The image {path.name} cannot be read: {error}", field="image") from error
    cropped = ImageOps.fit(upright, (request.out_width, request.out_height), Image.Resampling.LANCZOS)
    return cropped.resize((request.width, request.height), Image.Resampling.LANCZOS)


def _decode(pipe: Any, latents: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return the clip, shape (3, frames, height, width), -1 to 1. The pipelines do the same at their end."""
    vae = pipe.vae
    shape = (1, vae.config.z_dim, 1, 1, 1)
    latents = latents.to(device, vae.dtype)
    mean = torch.tensor(vae.config.latents_mean).view(shape).to(latents)
    spread = torch.tensor(vae.config.latents_std).view(shape).to(latents)
    decoded: torch.Tensor = vae.decode(latents * spread + mean, return_dict=False)[0]
    return decoded[0]


def _write(video: torch.Tensor, request: Render, outside: JobHooks) -> None:
    with VideoWriter(Path(request.out_path), request.out_width, request.out_height, request.fps) as writer:
        for frame in _frames(video, request):
            if outside.must_stop():
                raise StoppedByParent
            writer.write(frame)
            outside.step("encoding", writer.frames, request.out_frames)


def _frames(video: torch.Tensor, request: Render) -> Iterator[bytes]:
    asked = (request.out_frames, request.out_height, request.out_width)
    if tuple(video.shape[1:]) == asked:
        yield from (_pixels(video[:, index]).tobytes() for index in range(video.shape[1]))
        return
    clip: Frames = numpy.stack([_pixels(video[:, index]) for index in range(video.shape[1])])
    yield from resampled(clip, width=request.out_width, height=request.out_height, count=request.out_frames)


def _pixels(frame: torch.Tensor) -> Frame:
    scaled = (frame.float() / 2 + 0.5).clamp(0, 1) * 255
    pixels: Frame = scaled.round().to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()
    return pixels
