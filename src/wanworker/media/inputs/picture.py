"""Measure our own clean pictures, and crop them to an aspect. Both block: call them in threads (media/threads.py)."""

from __future__ import annotations

from pathlib import Path

from wanworker.media.new_file import new_file
from wanworker.spec import Size

#: Aspects that differ by less count as equal. Neither the eye nor Wan sees a difference.
ASPECT_TOLERANCE = 0.005


def picture_size(path: Path) -> tuple[int, int]:
    """Return (width, height) in pixels from the header of one of our own pictures. Both may exceed a Size's range."""
    from PIL import Image

    with Image.open(path) as picture:
        return picture.size


def crop_to_aspect(source: Path, target: Path, size: Size) -> bool:
    """
    Crop the middle of our own picture *source* to the aspect of *size*, and write it to *target* at full resolution.

    If the aspects differ by less than half a percent, returns False and writes nothing.
    """
    from PIL import Image

    with Image.open(source) as picture:
        box = centre_box(picture.size, size.aspect)
        if box is None:
            return False
        cut = picture.crop(box)
    with new_file(target):
        cut.save(target, format="PNG", compress_level=1)
    return True


def centre_box(size: tuple[int, int], aspect: float) -> tuple[int, int, int, int] | None:
    """Return the (left, top, right, bottom) of the largest centred crop with *aspect*, or None if none is needed."""
    width, height = size
    if abs(width / height / aspect - 1) < ASPECT_TOLERANCE:
        return None
    kept_width = max(1, min(width, round(height * aspect)))
    kept_height = max(1, min(height, round(width / aspect)))
    left, top = (width - kept_width) // 2, (height - kept_height) // 2
    return left, top, left + kept_width, top + kept_height
