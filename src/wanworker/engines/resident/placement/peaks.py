"""
The memory that each stage takes beside the weights, by task, size and frames. Pure.

The figures are peaks of live tensors of the true architectures, counted with torch's fake tensors, which have shapes
and no bytes (tests/engines/resident/placement/test_peaks.py counts them again). Each grows with one thing only:

- a step of a transformer with the tokens of the clip: latent frames x (width / p) x (height / p), where p is 16 for the
  A14B models and 32 for the 5B one; the constant beside is what the count of whole pipelines had on top;
- the decoder as a stream, and the encoder, with the pixels of a frame, for they take four frames at a time;
- the decoder in tiles of 256 x 256 pixels with the whole clip, which it puts together on the card.

cuDNN's workspaces, fragmentation and the CUDA context are not in them; they are in the reserve of choice.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wanworker.engines.resident.protocol import Placement
from wanworker.spec import TASKS, RenderSpec

GIB = 2**30

#: 512 tokens through umt5-xxl, with and without the negative prompt.
TEXT_BYTES = GIB // 2

_TILE_PIXELS = 256 * 256
_BYTES_OF_A_NUMBER = 4

#: What the tiled decoder holds of the clip at once: its tiles, their rows, and the rows joined.
_CLIPS_WHILE_TILING = 3.6


@dataclass(frozen=True, slots=True)
class Shape:
    """What decides the memory of a job beside its weights. `with_image`: a picture is encoded first."""

    task: str
    width: int
    height: int
    frames: int
    with_image: bool = False

    @property
    def pixels(self) -> int:
        """The pixels of a frame."""
        return self.width * self.height

    @property
    def latent_frames(self) -> int:
        """The frames that the VAE packs the clip into."""
        return 1 + (self.frames - 1) // 4

    @property
    def clip_bytes(self) -> int:
        """The decoded clip in float32."""
        return self.pixels * self.frames * 3 * _BYTES_OF_A_NUMBER

    def __str__(self) -> str:
        return f"{self.width}*{self.height} with {self.frames} frames"


@dataclass(frozen=True, slots=True)
class _Peaks:
    """
    The figures of one model, in bytes: of a step a constant and what each token adds; of the VAE per pixel.

    `bfloat16_share` is what a bfloat16 VAE takes of that: half, and what VAE 2.1 enlarges in float32 all the same.
    `encoded_clip` tells that a picture is encoded with an empty clip behind it (A14B), not alone (5B).
    """

    patch_px: int
    step_base: float
    step_per_token: float
    decode_per_pixel: float
    encode_per_pixel: float
    bfloat16_share: float
    encoded_clip: bool


#: A14B: 9.75 GiB at 1280*720 and 81 frames (75,600 tokens), 5.22 at 832*480 (32,760); VAE 2.1 as a stream 16.7 GiB at
#: 1280*720, its encoder 12.1 and the clip. 5B: 5.77 GiB at 1280*704 and 121 frames (27,280 tokens, a time for each
#: token); VAE 2.2 as a stream 18.05 GiB at 1280*704, its encoder 1.64 for the one picture.
_A14B = _Peaks(
    16, 1.75 * GIB, 4.53 * GIB / 42_840, 16.71 * GIB / 921_600, 12.09 * GIB / 921_600, 0.525, encoded_clip=True
)
_5B = _Peaks(32, 0.70 * GIB, 5.07 * GIB / 27_280, 18.06 * GIB / 901_120, 1.64 * GIB / 901_120, 0.5, encoded_clip=False)
_OF_TASK: Mapping[str, _Peaks] = {"t2v-A14B": _A14B, "i2v-A14B": _A14B, "ti2v-5B": _5B}


def shape_of(spec: RenderSpec) -> Shape:
    """Return the shape of a job, with the task's own frames where it names none."""
    frames = spec.frames or TASKS[spec.task].frames or 81
    return Shape(spec.task, spec.size.width, spec.size.height, frames, spec.image is not None)


def usual_shape(task: str) -> Shape:
    """Return the shape of a job of *task* that names neither size nor frames."""
    made = TASKS[task]
    return Shape(task, made.size.width, made.size.height, made.frames or 81, made.needs_image)


def step_bytes(shape: Shape) -> int:
    """Return what a step takes beside the transformer."""
    peaks = _OF_TASK[shape.task]
    tokens = shape.latent_frames * (shape.width // peaks.patch_px) * (shape.height // peaks.patch_px)
    return int(peaks.step_base + peaks.step_per_token * tokens)


def decode_bytes(shape: Shape, placement: Placement) -> int:
    """Return what decoding takes beside the VAE."""
    per_pixel = _OF_TASK[shape.task].decode_per_pixel
    whole = per_pixel * shape.pixels
    if placement.decode == "tiled":
        whole = per_pixel * min(_TILE_PIXELS, shape.pixels) + _CLIPS_WHILE_TILING * shape.clip_bytes
    return int(whole * _share(shape, placement))


def encode_bytes(shape: Shape, placement: Placement) -> int:
    """Return what encoding the job's picture takes beside the VAE; 0 without one."""
    if not shape.with_image:
        return 0
    peaks = _OF_TASK[shape.task]
    clip = shape.clip_bytes if peaks.encoded_clip else 0
    return int((peaks.encode_per_pixel * shape.pixels + clip) * _share(shape, placement))


def _share(shape: Shape, placement: Placement) -> float:
    return _OF_TASK[shape.task].bfloat16_share if placement.vae_dtype == "bfloat16" else 1.0
