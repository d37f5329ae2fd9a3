"""Contact sheets: five frames of each clip in a row, its caption below, in red what was read wrong. Pure.

A sheet goes into the repository: its colours are few and its letters hard, so that 40 clips stay under 400 kB.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy
from PIL import Image, ImageDraw, ImageFont

from train_mini.checkers_masks import Pixels
from train_mini.evaluation_cases import Judged
from train_mini.scene import Thing

FRAMES = 5

#: Pixels: a frame's side, the air between clips, a line of text.
_FRAME_PX = 72
_GAP_PX = 10
_LINE_PX = 13
_FONT_PX = 11
#: One bit a pixel: no grey round the letters.
_FONT_MODE = "1"

#: Lines for a caption, and for what is wrong; what is longer is cut off.
_CAPTION_LINES = 2
_WRONG_LINES = 2

#: The frames' colours, and after them the letters' own, so that no quantising turns red to brown.
_COLORS = 250
_PAPER, _INK, _RED = (255, 255, 255), (30, 30, 30), (200, 0, 0)

_CLIP_WIDTH_PX = FRAMES * _FRAME_PX
_CLIP_HEIGHT_PX = _FRAME_PX + (_CAPTION_LINES + _WRONG_LINES) * _LINE_PX


def contact_sheet(
    clips: Sequence[Pixels], captions: Sequence[str], wrong: Sequence[str], *, columns: int = 3
) -> Image.Image:
    """Return one picture of *clips*, (frames, height, width, 3) each, as a palette image, row by row in their order.

    *wrong* says of each clip what was read wrong, "" where nothing was.
    Raises ValueError where the three differ in length, or there is no clip.
    """
    if not clips or not len(clips) == len(captions) == len(wrong):
        raise ValueError(
            f"a sheet wants one caption and one verdict a clip, not {len(clips)}, {len(captions)} and {len(wrong)}"
        )
    columns = min(columns, len(clips))
    rows = -(-len(clips) // columns)
    size = (columns * (_CLIP_WIDTH_PX + _GAP_PX) + _GAP_PX, rows * (_CLIP_HEIGHT_PX + _GAP_PX) + _GAP_PX)
    places = [_place(index, columns) for index in range(len(clips))]
    sheet = Image.new("RGB", size, _PAPER)
    for place, clip in zip(places, clips, strict=True):
        sheet.paste(_strip(clip), place)
    sheet, ink, red = _few_colors(sheet)
    draw = ImageDraw.Draw(sheet)
    draw.fontmode = _FONT_MODE
    for (left, top), caption, mistake in zip(places, captions, wrong, strict=True):
        below = top + _FRAME_PX
        said = [(line, ink) for line in _lines(caption, _CAPTION_LINES)]
        said += [(line, red) for line in _lines(mistake, _WRONG_LINES)]
        for number, (line, color) in enumerate(said):
            draw.text((left, below + number * _LINE_PX), line, color, _font())
    return sheet


def sheet_of(found: Sequence[Judged], *, columns: int = 3) -> Image.Image:
    """Return the contact sheet of judged clips."""
    return contact_sheet(
        [each.pixels for each in found],
        [each.case.prompt for each in found],
        [mistakes(each) for each in found],
        columns=columns,
    )


def mistakes(found: Judged) -> str:
    """Return what was read where something else was asked for: "color blue, motion none"; "" where all is right."""
    seen = found.seen
    last = (found.last,) if found.last else ()
    read = {
        "color": _joined(seen.things, "color"),
        "shape": _joined(seen.things, "shape"),
        "motion": _name(seen.motion),
        "background": _name(seen.background),
        "relation": _name(seen.relation),
        "first frame": f"{found.first_frame_db or 0:.1f} dB",
        "last looks": f"{_joined(last, 'color')} {_joined(last, 'shape')}",
    }
    read |= {"colors": read["color"], "shapes": read["shape"]}
    names = [name.partition(" ")[2] for name in found.wrong]
    return ", ".join(f"{name} {read[name]}" for name in names)


def _joined(things: Sequence[Thing], name: str) -> str:
    return " + ".join(_name(getattr(thing, name)) for thing in things)


def _name(value: str | None) -> str:
    return value or "none"


def _place(index: int, columns: int) -> tuple[int, int]:
    row, column = divmod(index, columns)
    return _GAP_PX + column * (_CLIP_WIDTH_PX + _GAP_PX), _GAP_PX + row * (_CLIP_HEIGHT_PX + _GAP_PX)


def _strip(clip: Pixels) -> Image.Image:
    """Return five frames, the first and the last among them, side by side."""
    chosen = numpy.linspace(0, len(clip) - 1, FRAMES).round().astype(int)
    strip = Image.new("RGB", (_CLIP_WIDTH_PX, _FRAME_PX))
    for position, index in enumerate(chosen):
        frame = Image.fromarray(clip[index]).resize((_FRAME_PX, _FRAME_PX), Image.Resampling.LANCZOS)
        strip.paste(frame, (position * _FRAME_PX, 0))
    return strip


def _few_colors(sheet: Image.Image) -> tuple[Image.Image, int, int]:
    """Return *sheet* with a palette, and in it the places of ink and red."""
    few = sheet.quantize(_COLORS, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)
    palette = (few.getpalette() or [])[: 3 * _COLORS]
    palette += [0] * (3 * _COLORS - len(palette))
    few.putpalette([*palette, *_INK, *_RED])
    return few, _COLORS, _COLORS + 1


def _lines(text: str, limit: int) -> list[str]:
    """Return *text* broken into at most *limit* lines of a clip's width, dots at the end where some is left out."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and _fits(longer):
            lines[-1] = longer
        else:
            lines.append(word)
    kept = lines[:limit]
    return [_cut(line, "...") for line in kept[:-1]] + [
        _cut(line, "...", is_cut=len(lines) > limit) for line in kept[-1:]
    ]


def _cut(line: str, end: str, *, is_cut: bool = False) -> str:
    """Return *line*, or as much of it as fits with *end* behind; one that *is_cut* ends so in any case."""
    if not is_cut and _fits(line):
        return line
    while not _fits(line + end):
        line = line[:-1]
    return line + end


def _fits(text: str) -> bool:
    # As it is drawn: letters of one bit are wider.
    return _font().getlength(text, mode=_FONT_MODE) <= _CLIP_WIDTH_PX


@functools.cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(_FONT_PX)
