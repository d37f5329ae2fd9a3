"""What requests with pictures share: the source of a file, the size, and the size that a picture gives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wanworker.actions.request.fields import Request
from wanworker.actions.request.shape import DEFAULT_AREA, check_sides_agree, clamped
from wanworker.errors import InputRefused, InvalidRequest
from wanworker.media.inputs.picture import crop_to_aspect, picture_size
from wanworker.media.inputs.reader import Source
from wanworker.media.threads import in_thread
from wanworker.spec import Size, longest_aspect, size_at_aspect

_KINDS: tuple[Literal["url", "base64", "path"], ...] = ("url", "base64", "path")


class PictureRequest(Request):
    """Define a request that has files as `<field>_url`, `_base64` or `_path`, and a size or width and height."""

    size: str | None
    width: int | None
    height: int | None

    def source(self, field: str) -> Source | None:
        """Return where *field* (such as `reference_image`) comes from. URL comes before base64, base64 before path."""
        for kind in _KINDS:
            value = getattr(self, f"{field}_{kind}")
            if value and value.strip():
                return Source(kind, value.strip(), f"{field}_{kind}")
        return None

    def meant_sources(self) -> dict[str, str | None]:
        """Return each field that may name a file, None where another one is read; base64 text in its plainest form."""
        fields: dict[str, str | None] = {}
        for field in self._inputs():
            fields |= {f"{field}_{kind}": None for kind in _KINDS}
            if source := self.source(field):
                kind, value = source.plainly()
                fields[f"{field}_{kind}"] = value
        return fields

    def overruled(self) -> list[str]:
        """Return a line for each field that does nothing because another one says the same thing otherwise."""
        lines = []
        for field in self._inputs():
            given = [name for kind in _KINDS if (getattr(self, name := f"{field}_{kind}") or "").strip()]
            first, *others = map(self.spelled, given) if given else ("",)
            lines += [f"{name} was ignored: {first} was also given." for name in others]
        return lines

    @classmethod
    def _inputs(cls) -> list[str]:
        return [name.removesuffix("_base64") for name in cls.model_fields if name.endswith("_base64")]

    def checked_size(self) -> Size | None:
        """Return the size that was asked for, or None. Raises InvalidRequest, also if size and a side disagree."""
        if self.size is not None:
            size = Size.parse(self.size)
            check_sides_agree(size, self.width, self.height, name="size")
            return size
        if (self.width is None) != (self.height is None):
            missing = "height" if self.height is None else "width"
            raise InvalidRequest(f"{missing} is missing: give width and height together, or size.", field=missing)
        return None if self.width is None or self.height is None else Size(self.width, self.height)


@dataclass(frozen=True, slots=True)
class Subject:
    """Hold what gives a video its shape: its field, its name, its kind (picture or video), and its sides in pixels."""

    field: str
    label: str
    kind: str
    width: int
    height: int


async def sized_by_picture(
    picture: Path, *, area: int, multiple: int, notes: list[str], named: str = DEFAULT_AREA
) -> tuple[Size, Path]:
    """
    Return a size of about *area* pixels with the shape of *picture*, and the picture cropped to it.

    *named* is what the area is called. A side never leaves its range. A very long picture therefore gets the nearest
    possible size and is cropped, and *notes* get a line about it. Raises InputRefused for a picture that is too long
    for any size.
    """
    subject = Subject("reference_image", "reference image", "picture", *picture_size(picture))
    told = len(notes)
    size = size_in_shape(subject, area=area, multiple=multiple, notes=notes, named=named)
    if len(notes) == told:
        return size, picture
    cropped = picture.with_name(f"{picture.stem}-shaped.png")
    if not await in_thread(crop_to_aspect, picture, cropped, size):
        return size, picture
    notes.append(f"image was cropped (centre) to the shape of {size}.")
    return size, cropped


def size_in_shape(subject: Subject, *, area: int, multiple: int, notes: list[str], named: str = DEFAULT_AREA) -> Size:
    """
    Return a size of about *area* pixels with the shape of *subject*, both sides multiples of *multiple*.

    *named* is what the area is called. *notes* get a line where the range of sides makes it smaller. Raises
    InputRefused for a shape that no size can show.
    """
    width, height, kind = subject.width, subject.height, subject.kind
    aspect, longest = width / height, longest_aspect()
    if max(aspect, 1 / aspect) > longest:
        ratio = f"{aspect:.4g}:1" if aspect > 1 else f"1:{1 / aspect:.4g}"
        raise InputRefused(
            f"{subject.label}: the {kind} is {width} x {height}, {ratio}; the limit is {longest:g}:1.",
            hint=f"Crop the {kind}, or set size: the worker then fits the {kind} to that shape.",
            field=subject.field,
        )
    size = size_at_aspect(aspect, area, multiple)
    if limit := clamped(size, area, aspect, named):
        notes.append(f"size {size} was chosen for the {kind} of {width} x {height}: {limit}.")
    return size
