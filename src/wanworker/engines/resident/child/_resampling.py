"""Resample a small clip to the size and the length that were asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import numpy

    Frame: TypeAlias = numpy.ndarray[tuple[int, int, int], numpy.dtype[numpy.uint8]]
    Frames: TypeAlias = numpy.ndarray[tuple[int, int, int, int], numpy.dtype[numpy.uint8]]


def resampled(frames: Frames, *, width: int, height: int, count: int) -> Iterator[bytes]:
    """
    Yield *count* RGB frames of *width* x *height* from *frames* (shape (n, h, w, 3)), one in memory at a time.

    The first and the last frame stay where they are; between two frames the picture is their weighted mean, which
    moves evenly where repeating frames would jerk (17 frames last five seconds). Lanczos keeps edges crisper than
    bicubic; sharpening after it draws halos around every shape.
    """
    import numpy
    from PIL import Image

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
