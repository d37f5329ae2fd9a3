"""Define what can be rendered: Wan 2.2's tasks, sizes and frame rules, and the spec itself. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from wanworker.errors import InvalidRequest
from wanworker.ranges import RANGES
from wanworker.text.nearest import nearest_names

#: What may be traded for time: `exact` nothing, `fast` what the eye hardly sees.
Profile = Literal["exact", "fast"]

#: Random seeds stay below this number, so that JavaScript shows them exactly.
RANDOM_SEED_LIMIT = 2**53


@dataclass(frozen=True, slots=True)
class Size:
    """A frame size in pixels."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}*{self.height}"

    @property
    def area(self) -> int:
        """The number of pixels of one frame."""
        return self.width * self.height

    @property
    def aspect(self) -> float:
        """Width over height."""
        return self.width / self.height

    @classmethod
    def parse(cls, text: str) -> Size:
        """Read `1280*720`, `1280x720` or the same with a multiplication sign. Raises InvalidRequest."""
        match = re.fullmatch(r"\s*([0-9]{1,5})\s*[*xX\u00d7]\s*([0-9]{1,5})\s*", text)
        if match is None:
            raise InvalidRequest(f"size must look like '1280*720'; got {text[:40]!r}.", field="size")
        return cls(int(match[1]), int(match[2])).checked()

    def checked(self) -> Size:
        """Return this size, or raise InvalidRequest when a side is out of range."""
        limits = RANGES["side_px"]
        for name, side in (("width", self.width), ("height", self.height)):
            if not limits.low <= side <= limits.high:
                message = f"{name} must be between {limits.low:g} and {limits.high:g} pixels; got {side}."
                raise InvalidRequest(message, field=name)
        return self

    def snapped(self, multiple: int) -> Size:
        """Return the size with both sides rounded to the nearest *multiple*, at least one *multiple* each."""
        width, height = (max(multiple, round(side / multiple) * multiple) for side in (self.width, self.height))
        return Size(width, height)


#: A first and a last picture: Wan's latents hold one frame, then four each.
FEWEST_FRAMES_OF_TWO = 5

#: What upstream calls 480p, in pixels of a frame; a size counts as that where its area is nearer than the task's own.
SMALL_AREA = 832 * 480


@dataclass(frozen=True, slots=True)
class Task:
    """
    Hold one Wan 2.2 task with upstream's own defaults (Wan2.2 wan/configs at 42bf4cf).

    `guidance` is (low noise, high noise). `frames` is None where a sound or a driving video decides the length.
    `small_shift` is the shift for 480p where upstream names another one for it. `film` names the driving video in
    messages. With `takes_prepared` a folder may stand for it; with `denoise`, a share of the steps, it is the start.
    """

    name: str
    folder: str
    size: Size
    fps: int
    frames: int | None
    steps: int
    shift: float
    guidance: tuple[float, float]
    size_multiple: int = 16
    boundary: float | None = None
    small_shift: float | None = None
    needs_image: bool = False
    takes_image: bool = False
    needs_audio: bool = False
    needs_driving_video: bool = False
    takes_prepared: bool = False
    takes_last_image: bool = False
    film: str = "driving video"
    denoise: float | None = None

    @property
    def short_name(self) -> str:
        """The name before the dash, as the documented messages write it: `i2v`."""
        return self.name.partition("-")[0]

    def shift_at(self, size: Size) -> float:
        """Return the flow shift at *size*: upstream's README takes 3 for pictures at 480p (wan.md 1.3)."""
        is_small = abs(math.log(size.area / SMALL_AREA)) < abs(math.log(size.area / self.size.area))
        return self.small_shift if self.small_shift is not None and is_small else self.shift


TASKS: Mapping[str, Task] = {
    task.name: task
    for task in (
        Task("t2v-A14B", "Wan2.2-T2V-A14B", Size(1280, 720), 16, 81, 40, 12.0, (3.0, 4.0), boundary=0.875),
        Task(
            "i2v-A14B", "Wan2.2-I2V-A14B", Size(1280, 720), 16, 81, 40, 5.0, (3.5, 3.5), boundary=0.9,
            small_shift=3.0, needs_image=True, takes_image=True, takes_last_image=True,
        ),
        Task(
            "ti2v-5B", "Wan2.2-TI2V-5B", Size(1280, 704), 24, 121, 50, 5.0, (5.0, 5.0), size_multiple=32,
            takes_image=True,
        ),
        Task(
            "s2v-14B", "Wan2.2-S2V-14B", Size(1280, 720), 16, None, 40, 3.0, (4.5, 4.5),
            needs_image=True, takes_image=True, needs_audio=True,
        ),
        Task(
            "animate-14B", "Wan2.2-Animate-14B", Size(1280, 720), 30, None, 20, 5.0, (1.0, 1.0),
            needs_image=True, takes_image=True, needs_driving_video=True, takes_prepared=True,
        ),
        # Not in generate.py: docs/adding-a-workflow.md says where these numbers come from.
        Task(
            "vace-A14B", "Wan2.2-VACE-Fun-A14B", Size(1280, 720), 16, 81, 40, 12.0, (3.0, 4.0), boundary=0.875,
            takes_image=True, needs_driving_video=True, film="control video",
        ),
        Task(
            "v2v-A14B", "Wan2.2-T2V-A14B", Size(1280, 720), 16, 81, 40, 5.0, (3.0, 4.0), boundary=0.875,
            small_shift=3.0, needs_driving_video=True, film="video", denoise=0.7,
        ),
        Task(
            "animate2-14B", "Wan2.2-Animate-2-14B", Size(640, 800), 24, None, 40, 5.0, (3.0, 3.0),
            needs_image=True, takes_image=True, needs_driving_video=True,
        ),
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Lora:
    """
    Hold the file names and strengths of a LoRA for the high-noise expert, the low-noise expert or both.

    Where only one is named, the other gets its sibling; not so with `is_exact`.
    """

    high: str | None
    low: str | None
    high_strength: float = 1.0
    low_strength: float = 1.0
    is_exact: bool = False


@dataclass(frozen=True, slots=True)
class RenderSpec:
    """
    Hold what to render, after validation: every file is on disk and every number is in range.

    `size_given` tells a size that the caller asked for from one that we derived. `steps`, `shift` and the two
    guidance scales are None where the engine's own default for the task holds. `frames` is 4n+1, or None where
    the sound or the driving video decides. `diffusion_models` (none, one or both experts) and `vae_model` name weight
    files or folders; `single_expert` keeps one of a pair from getting its sibling. `profile`
    is None where the worker's own setting holds; `crf` is None where the engine's own quality does. With `loop`, the
    last picture is the first.
    """

    task: str
    prompt: str
    size: Size
    size_given: bool
    fps: float
    fps_given: bool
    seed: int
    frames: int | None = None
    negative_prompt: str | None = None
    steps: int | None = None
    guidance: float | None = None
    guidance_low: float | None = None
    shift: float | None = None
    solver: str | None = None
    image: Path | None = None
    last_image: Path | None = None
    audio: Path | None = None
    driving_video: Path | None = None
    prepared_dir: Path | None = None
    denoise: float | None = None
    use_lora: bool = False
    loras: tuple[Lora, ...] = ()
    offload_model: bool | None = None
    diffusion_models: tuple[str, ...] = ()
    vae_model: str | None = None
    single_expert: bool = False
    profile: Profile | None = None
    crf: int | None = None
    loop: bool = False
    target_fps: float | None = None
    upscale_factor: int | None = None
    upscale_model: str | None = None
    soundtrack: Path | None = None


@dataclass(frozen=True, slots=True)
class Upload:
    """Hold a file that a graph reads: the name that its nodes use, and where it is on disk."""

    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class GraphSpec:
    """
    Hold a caller's own graph in API format and the files that it reads. Only the ComfyUI engine takes it.

    `left_out` has a sentence for each fault of an output node that the graph no longer has.
    """

    graph: Mapping[str, Any]
    uploads: tuple[Upload, ...] = ()
    left_out: tuple[str, ...] = ()


def task_named(name: str) -> Task:
    """Return the task of exactly this name. Raises InvalidRequest, naming the known tasks."""
    if name not in TASKS:
        by_lower = {known.lower(): known for known in TASKS}
        begun = [lower for lower in by_lower if lower.partition("-")[0] == name.lower().strip()]
        near = [by_lower[lower] for lower in begun or nearest_names(name.lower(), by_lower, most=1)]
        hint = f"Did you mean {near[0]!r}? Upper and lower case count." if near else None
        raise InvalidRequest(f"Unknown task {name[:60]!r}; known: {', '.join(TASKS)}.", hint=hint, field="task")
    return TASKS[name]


def nearest_frames(asked: int) -> int:
    """Return the nearest 4n+1, ties up (16 and 18 give 17). Wan's VAE packs four frames into one latent."""
    return max(0, math.floor((asked - 1) / 4 + 0.5)) * 4 + 1


def check_last_image(frames: int, field: str) -> None:
    """Raise InvalidRequest where *frames* have no room for a last picture: one is the first picture itself."""
    if frames < FEWEST_FRAMES_OF_TWO:
        message = f"A last image needs at least {FEWEST_FRAMES_OF_TWO} frames; {field} is {frames}."
        raise InvalidRequest(message, hint="Send more frames, or no last image.", field=field)


def longest_aspect() -> float:
    """Return the longest shape, long side over short side, whose two sides can both be in range."""
    return RANGES["side_px"].high / RANGES["side_px"].low


def size_at_aspect(aspect: float, area: int, multiple: int) -> Size:
    """
    Return the size of about *area* pixels with width/height *aspect*, both sides multiples of *multiple*.

    No side leaves its range; if both cannot be kept, the shape is kept and the area changes. *aspect* must not exceed
    `longest_aspect` in either direction.
    """
    width = math.sqrt(area * aspect)
    size = Size(round(width), round(width / aspect)).snapped(multiple)
    return size if _is_in_range(size) else _largest_at_aspect(aspect, multiple)


def _is_in_range(size: Size) -> bool:
    limits = RANGES["side_px"]
    return all(limits.low <= side <= limits.high for side in (size.width, size.height))


def _largest_at_aspect(aspect: float, multiple: int) -> Size:
    """Return the size in range whose shape is nearest to *aspect*; of equally near ones, the largest."""
    low, high = (int(side) for side in (RANGES["side_px"].low, RANGES["side_px"].high))
    ratio = max(aspect, 1 / aspect)
    short = int(high / ratio // multiple) * multiple
    sizes = [
        (min(high, round(side * ratio / multiple) * multiple), side)
        for side in (max(low, short), max(low, short + multiple))
    ]
    long, short = min(sizes, key=lambda sides: abs(math.log(sides[0] / sides[1] / ratio)))
    return Size(long, short) if aspect >= 1 else Size(short, long)
