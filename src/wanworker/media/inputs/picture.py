"""
Convert pictures of unknown origin to upright RGB PNGs without metadata, and crop them to an aspect.

All of it blocks: call it in a thread (media/disk.py).
"""

from __future__ import annotations

import struct
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from wanworker.errors import InputRefused, InputUnavailable
from wanworker.media.disk import new_file
from wanworker.media.inputs._filetype import HEAD_BYTES, describe, serves_as, sniff
from wanworker.spec import Size

if TYPE_CHECKING:
    from PIL.Image import Image, Transpose

#: Aspects that differ by less count as equal: to the eye and to Wan they are.
ASPECT_TOLERANCE = 0.005

#: The tag that says how a camera was held (Exif 2.3, table 4).
_ORIENTATION_TAG = 0x0112
_SEND_ANOTHER = "Send a PNG, JPEG, WebP, AVIF, GIF, BMP or TIFF picture."

#: What Pillow's readers raise on damaged files, found by feeding them damaged files.
_DAMAGE = (
    OSError, SyntaxError, ValueError, EOFError, TypeError, LookupError, ArithmeticError, RuntimeError, struct.error,
)  # fmt: skip

#: One picture at a time: it bounds the memory, and the warnings below are silenced for the whole process.
_DECODING = threading.Lock()


def picture_size(path: Path) -> tuple[int, int]:
    """Return (width, height) in pixels from the header of one of our own pictures; both may exceed a Size's range."""
    from PIL import Image

    with Image.open(path) as picture:
        return picture.size


def write_clean_png(source: Path, target: Path, *, max_pixels: int) -> tuple[int, int]:
    """
    Decode the picture *source* and write it as an RGB PNG; return its (width, height) in pixels.

    The type is told by content, the number of pixels checked in the header before anything is decoded, and the whole
    picture decoded: a file that was cut off does not pass. The camera's orientation is applied. Transparent pixels are
    laid over white, as viewers show them. Of an animation the first frame counts. Colour profiles and other metadata
    are dropped with the pixel values left as they are, which is how Wan's own scripts read a picture.

    Raises InputRefused for too many pixels, InputUnavailable for what is no picture or does not decode, DiskFull.
    """
    with _DECODING, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on damaged tags: the picture decodes or it does not.
        with _decoded(source, max_pixels) as picture:
            clean = _as_rgb(_upright(picture))
    clean.info.clear()
    with new_file(target):
        clean.save(target, format="PNG", compress_level=1)  # Read back once and deleted: speed over size.
    return clean.size


def crop_to_aspect(source: Path, target: Path, size: Size) -> bool:
    """
    Cut the middle of our own picture *source* to the aspect of *size* and write it to *target*, at full resolution.

    Returns False, and writes nothing, when the aspects differ by less than half a percent.
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
    """Return the (left, top, right, bottom) of the largest centred cut with *aspect*, None when none is needed."""
    width, height = size
    if abs(width / height / aspect - 1) < ASPECT_TOLERANCE:
        return None
    kept_width = max(1, min(width, round(height * aspect)))
    kept_height = max(1, min(height, round(width / aspect)))
    left, top = (width - kept_width) // 2, (height - kept_height) // 2
    return left, top, left + kept_width, top + kept_height


def _decoded(path: Path, max_pixels: int) -> Image:
    """Open, measure and then decode a picture."""
    from PIL import Image

    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    file_type = sniff(head)
    if file_type is None or not serves_as(file_type, "picture"):
        found = describe(head)
        fault = "a kind that cannot be read" if found.endswith(" picture") else "not a picture"
        raise InputUnavailable(f"it looks like {found}, {fault}.", hint=_SEND_ANOTHER)
    # Pillow's own guard warns of some pictures that we take and knows nothing of our limit; ours is below.
    Image.MAX_IMAGE_PIXELS = None
    try:
        picture = Image.open(path, formats=[file_type.reader])
    except _DAMAGE as error:
        raise InputUnavailable(f"it begins like {file_type.name} but cannot be read.", hint=_SEND_ANOTHER) from error
    try:
        _check_pixels(picture.size, max_pixels)
        picture.load()
    except _DAMAGE as error:
        picture.close()
        raise InputUnavailable(f"it is {file_type.name} that is damaged or cut off.", hint=_SEND_ANOTHER) from error
    except InputRefused:
        picture.close()
        raise
    return picture


def _check_pixels(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise InputRefused(
            f"the picture is {width} x {height}, {width * height / 1e6:,.0f} megapixels; "
            f"at most {max_pixels / 1e6:,.0f} are taken.",
            hint="Send a smaller picture: a video frame has at most about one megapixel.",
        )


def _upright(picture: Image) -> Image:
    """Turn or mirror as the orientation tag says; a damaged tag means upright."""
    try:
        orientation = picture.getexif().get(_ORIENTATION_TAG)
    except _DAMAGE:
        return picture
    turn = _turns().get(orientation)
    return picture if turn is None else picture.transpose(turn)


def _turns() -> dict[object, Transpose]:
    from PIL.Image import Transpose

    return {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }


def _as_rgb(picture: Image) -> Image:
    """Convert any mode to RGB."""
    from PIL import Image

    if picture.mode.startswith("I;16"):  # A plain conversion would clip all above 255 to white.
        picture = picture.point(lambda value: value / 256, "L")
    if picture.mode in {"I", "F"}:
        raise InputUnavailable("its pixels are 32-bit numbers of unknown range.", hint="Send 8 or 16 bits a channel.")
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    layer = picture.convert("RGBA")
    paper = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(paper, layer).convert("RGB")
