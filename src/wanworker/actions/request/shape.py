"""Read a size and a length as people say them elsewhere: 720p, 16:9, five seconds. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from wanworker.errors import InvalidRequest
from wanworker.ranges import RANGES
from wanworker.spec import Size, longest_aspect, nearest_frames, size_at_aspect
from wanworker.text.json_words import shown

#: What a resolution means at 16:9. At other shapes it means the same area.
RESOLUTIONS: Mapping[str, Size] = {"480p": Size(832, 480), "720p": Size(1280, 720), "1080p": Size(1920, 1080)}

AUTO = "auto"

#: What messages call the area of a request without a resolution.
DEFAULT_AREA = "the default area"

#: The shapes that the schema names; any other W:H is read too.
ASPECT_RATIOS = (AUTO, "16:9", "9:16", "4:3", "3:4", "3:2", "2:3", "1:1", "21:9")

#: A size has an area or a shape if it is as near to it as rounding to a multiple of 32 pixels makes it.
_AREA_WITHIN, _SHAPE_WITHIN = 0.1, 0.05

#: If a size has less than this share of the area that was wanted, the range of sides has limited it.
_CLAMPED = 0.9


def _resolution(value: Any) -> Any:
    text = str(value).strip().lower()
    name = text if text.endswith("p") else f"{text}p"
    if isinstance(value, bool) or not isinstance(value, str | int) or name not in RESOLUTIONS:
        known = ", ".join(RESOLUTIONS)
        raise PydanticCustomError("out_of_range", "{text}", {"text": f"must be one of {known}; got {shown(value)}"})
    return name


def _aspect_ratio(value: str) -> str:
    text = value.strip().lower()
    if text != AUTO:
        match = re.fullmatch(r"([0-9]{1,4})\s*:\s*([0-9]{1,4})", text)
        wide, high = (int(match[1]), int(match[2])) if match else (0, 0)
        if not wide or not high or max(wide / high, high / wide) > longest_aspect():
            words = f"must look like '16:9', or be 'auto', and be at most {longest_aspect():g}:1; got {shown(value)}"
            raise PydanticCustomError("out_of_range", "{text}", {"text": words})
        text = f"{wide}:{high}"
    return text


Resolution = Annotated[str, BeforeValidator(_resolution), Field(json_schema_extra={"enum": [*RESOLUTIONS]})]
AspectRatio = Annotated[
    str, AfterValidator(_aspect_ratio), Field(max_length=20, json_schema_extra={"examples": [*ASPECT_RATIOS]})
]


def size_for(
    resolution: str | None,
    aspect_ratio: str | None,
    *,
    default: Size,
    multiple: int,
    by_picture: bool,
    warnings: list[str],
) -> tuple[Size, bool]:
    """
    Return the size that *resolution* and *aspect_ratio* mean, and whether its shape is asked for.

    What is left out is that of *default*. With `auto`, or without an aspect ratio, a picture decides the shape
    (*by_picture*): then only the area of the size counts. A shape that is too long for that area is a line in
    *warnings*.
    """
    area = RESOLUTIONS[resolution] if resolution else default
    if aspect_ratio in {None, AUTO}:
        is_asked = resolution is not None and not by_picture
        return (area.snapped(multiple) if resolution else default), is_asked
    wide, high = map(int, str(aspect_ratio).split(":"))
    for size in (area, Size(area.height, area.width)):
        is_meant = wide * 9 == high * 16 if size.aspect > 1 else wide * 16 == high * 9
        if is_meant:
            return size.snapped(multiple), True
    size = size_at_aspect(wide / high, area.area, multiple)
    if limit := clamped(size, area.area, wide / high, resolution or DEFAULT_AREA):
        warnings.append(f"size {size} was chosen for aspect_ratio {aspect_ratio}: {limit}.")
    return size, True


def clamped(size: Size, area: int, aspect: float, named: str) -> str | None:
    """Return why *size* is smaller than *area* pixels of this *aspect*, or None if it is not. *named* is the area."""
    if size.area > area * _CLAMPED:
        return None
    side_px = math.sqrt(area * aspect)
    return f"its shape at {named} would be {side_px:.0f}*{side_px / aspect:.0f}, and a side has 64 to 2048 pixels"


def check_sides_agree(size: Size, width: int | None, height: int | None, *, name: str) -> None:
    """Raise InvalidRequest if *width* or *height* is given and is not that of *size*, called *name*."""
    for side, sent, meant in (("width", width, size.width), ("height", height, size.height)):
        if sent not in {None, meant}:
            message = f"{name} and {side} disagree: {size} is not {sent} pixels."
            raise InvalidRequest(message, hint=f"Send {name}, or width and height.", field=side)


def check_size_agrees(
    size: Size, resolution: str | None, aspect_ratio: str | None, *, names: Mapping[str, str]
) -> None:
    """
    Raise InvalidRequest if *size* is not what *resolution* or *aspect_ratio* says.

    *names* has how the caller spelled `size`, `resolution` and `aspect_ratio`.
    """
    if resolution and abs(math.log(size.area / RESOLUTIONS[resolution].area)) > _AREA_WITHIN:
        _refuse(names["size"], size, names["resolution"], resolution)
    if aspect_ratio and aspect_ratio != AUTO:
        wide, high = map(int, aspect_ratio.split(":"))
        if abs(math.log(size.aspect * high / wide)) > _SHAPE_WITHIN:
            _refuse(names["size"], size, names["aspect_ratio"], aspect_ratio)


def frames_for(
    seconds: float | None, frames: int | None, *, fps: float, names: Mapping[str, str], warnings: list[str]
) -> int | None:
    """
    Return the number of frames, 4n+1, that *seconds* or *frames* ask for, None if neither is given.

    A number that had to be changed is a line in *warnings*. *names* has how the caller spelled `seconds` and `frames`.
    Raises InvalidRequest if both are given and disagree, and for too many seconds.
    """
    if seconds is None:
        if frames is None:
            return None
        snapped = nearest_frames(frames)
        if snapped != frames:
            warnings.append(f"{names['frames']} {frames} was changed to {snapped}: Wan renders 4n+1 frames.")
        return snapped
    asked = max(1, round(seconds * fps))
    made, most = nearest_frames(asked), int(RANGES["frames"].high)
    if made > most:
        message = f"{names['seconds']} {seconds:g} at {fps:g} fps is {asked:,} frames; at most {most:,} are rendered."
        raise InvalidRequest(message, hint="Send fewer seconds, or a lower fps.", field=names["seconds"])
    if frames is not None and nearest_frames(frames) != made:
        _refuse(names["seconds"], f"{seconds:g} ({made} frames at {fps:g} fps)", names["frames"], str(frames))
    if made != asked:
        warnings.append(
            f"{names['seconds']} {seconds:g} became {made} frames at {fps:g} fps ({made / fps:.2f} s): "
            "Wan renders 4n+1 frames."
        )
    return made


def _refuse(first: str, one: object, second: str, other: object) -> None:
    message = f"{first} and {second} disagree: {one} is not {other}."
    raise InvalidRequest(message, hint="Send one of the two.", field=second)
