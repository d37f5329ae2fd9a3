"""
Convert a picture of unknown origin to an upright RGB PNG without metadata.

This blocks, and for some pictures it never ends. So only the child process runs it (_child.py), which can be killed.
"""

from __future__ import annotations

import struct
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from wanworker.errors import InputRefused, InputUnavailable
from wanworker.media._filetype import HEAD_BYTES, describe, serves_as, sniff
from wanworker.media.inputs.decoding._picture_cost import check_parts
from wanworker.media.new_file import new_file

if TYPE_CHECKING:
    from PIL.Image import Image, Transpose

#: The tag with the orientation of the camera (Exif 2.3, table 4).
_ORIENTATION_TAG = 0x0112
_SEND_ANOTHER = "Send a PNG, JPEG, WebP, AVIF, GIF, BMP or TIFF picture."

#: The errors that Pillow's readers raise for damaged files, found by trying.
_DAMAGE = (
    OSError, SyntaxError, ValueError, EOFError, TypeError, LookupError, ArithmeticError, RuntimeError, struct.error,
)  # fmt: skip


def write_clean_png(source: Path, target: Path, *, max_pixels: int) -> tuple[int, int]:
    """
    Decode the picture *source* and write it as an RGB PNG. Return its (width, height) in pixels.

    The type is told by the content, and the number of pixels is checked in the header before anything is decoded. The
    whole picture is decoded, so a file that was cut off fails. The camera's orientation is applied. Transparent pixels
    are laid over white, as viewers show them. Of an animation the first frame is taken. Colour profiles and other
    metadata are dropped and the pixel values stay as they are; Wan's own scripts read pictures in the same way.

    Raises InputRefused for too many pixels, InputUnavailable for a file that is not a picture or does not decode,
    DiskFull.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns about damaged tags, but only decoding matters.
        with _decoded(source, max_pixels) as picture:
            clean = _as_rgb(_upright(picture))
    clean.info.clear()
    with new_file(target):
        # The file is read once and then deleted, so speed matters more than size.
        clean.save(target, format="PNG", compress_level=1)
    return clean.size


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
    check_parts(path, file_type)
    # Pillow's own guard warns about some pictures that we accept, and does not know our limit, which is checked below.
    guard, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        picture = Image.open(path, formats=[file_type.reader])
    except _DAMAGE as error:
        raise InputUnavailable(f"it begins like {file_type.name} but cannot be read.", hint=_SEND_ANOTHER) from error
    finally:
        Image.MAX_IMAGE_PIXELS = guard
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
    """Turn or mirror the picture as the orientation tag says. A damaged tag means upright."""
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

    if picture.mode.startswith("I;16"):
        picture = _in_8_bits(picture)
    if picture.mode in {"I", "F"}:
        raise InputUnavailable("its pixels are 32-bit numbers of unknown range.", hint="Send 8 or 16 bits a channel.")
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    layer = picture.convert("RGBA")
    paper = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(paper, layer).convert("RGB")


def _in_8_bits(picture: Image) -> Image:
    """Return a grey picture of 16 bits as one of 8. A plain conversion would clip all values above 255 to white."""
    # Pillow divides 32-bit pixels, but not 16-bit ones of every byte order.
    grey = picture.convert("I").point(lambda value: value / 256).convert("L")
    if isinstance(clear := picture.info.get("transparency"), int):
        grey.info["transparency"] = clear // 256  # the grey that counts as transparent
    return grey
