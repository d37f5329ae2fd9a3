"""Say what is done to a clip after it is rendered: more frames, more pixels, a sound. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from wanworker.errors import InvalidRequest

#: How many times as wide and high a clip may be made.
FACTORS = (2, 4)

#: The most that ComfyUI's FrameInterpolate makes of one frame, and the most frames per second of its CreateVideo.
_MOST_TIMES, _MOST_FPS = 16, 120

_NEARLY = 1e-6

_NAME_CHARS = 200


@dataclass(frozen=True, slots=True)
class Upscale:
    """Hold how a clip is enlarged: by a `factor`, or by the upscale `model` of that name, which has its own factor."""

    factor: int | None = None
    model: str | None = None

    @classmethod
    def parse(cls, value: int | str) -> Upscale:
        """Read 2, 4, `2x`, `x4`, or the name of an upscale model. Raises InvalidRequest."""
        text = str(value).strip()
        number = text.lower().strip("x")
        if number in map(str, FACTORS):
            return cls(factor=int(number))
        if not text or len(text) > _NAME_CHARS or number.lstrip("-").replace(".", "", 1).isdigit():
            raise InvalidRequest(
                f"upscale must be 2, 4 or the name of an upscale model; got {text[:40]!r}.", field="upscale"
            )
        return cls(model=text)


@dataclass(frozen=True, slots=True)
class Finish:
    """Hold everything that is done to the rendered clip. What is None is left as it was rendered."""

    target_fps: float | None = None
    upscale: Upscale | None = None
    soundtrack: Path | None = None


def times_for(fps: float, target_fps: float) -> int:
    """
    Return how many frames a frame interpolation model makes of one, so that those of *target_fps* are among them.

    If that takes more than twice as many as the target has, there are only twice as many, and the nearest are used.
    """
    least = math.ceil(target_fps / fps - _NEARLY)
    most = min(_MOST_TIMES, 2 * least, int(_MOST_FPS / fps))
    exact = (times for times in range(least, most + 1) if _is_whole(fps * times / target_fps))
    return next(exact, most)


def finished_frames(frames: int, fps: float, target_fps: float) -> int:
    """Return how many frames a clip has at *target_fps*. It plays as long as before."""
    return max(1, math.floor(frames * target_fps / fps + 0.5))


def _is_whole(number: float) -> bool:
    return abs(number - round(number)) < _NEARLY
