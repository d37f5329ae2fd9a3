"""Draw a clip as one picture: evenly spaced frames, each with its time."""

from __future__ import annotations

from pathlib import Path

from wanworker.media.new_file import new_file
from wanworker.media.threads import in_thread
from wanworker.media.video._frames import Frame, read_some
from wanworker.media.video.mp4 import VideoFacts
from wanworker.media.video.writer import probe

_LONG_SIDE_PX = 320
_GAP_PX = 12
_LABEL_PX = 24
_TITLE_PX = 40
_BACKGROUND, _TEXT, _FAINT = (18, 20, 24), (232, 234, 238), (150, 155, 165)


async def contact_sheet(path: Path, target_png: Path, *, columns: int = 4, frames: int = 12) -> Path:
    """
    Draw *frames* evenly spaced frames of *path*, including the first and the last, in rows of *columns*.

    The PNG appears completely or not at all. Returns *target_png*. A shorter clip shows all of its frames. Raises
    NoOutput if the video does not decode, DiskFull, and ValueError for fewer than one column or frame.
    """
    if columns < 1 or frames < 1:
        raise ValueError(f"A contact sheet needs at least one column and one frame; got {columns} and {frames}.")
    facts = await probe(path)
    indices = evenly_spaced(facts.frames, frames)
    pictures = await read_some(path, indices, long_side_px=_LONG_SIDE_PX)
    labels = [f"{index / facts.fps:.2f} s" for index in indices]
    await in_thread(_draw, pictures, labels, _title(path, facts), min(columns, len(pictures)), target_png)
    return target_png


def evenly_spaced(count: int, wanted: int) -> list[int]:
    """Return at most *wanted* indices of *count* frames, ascending, including the first and the last."""
    wanted = min(count, wanted)
    if wanted == 1:
        return [0]
    return [round(index * (count - 1) / (wanted - 1)) for index in range(wanted)]


def _title(path: Path, facts: VideoFacts) -> str:
    size = f"{facts.width} x {facts.height}"
    return f"{path.name}    {size}    {facts.frames} frames    {facts.fps:g} fps    {facts.duration_s:.2f} s"


def _draw(pictures: list[Frame], labels: list[str], title: str, columns: int, target_png: Path) -> None:
    from PIL import Image, ImageDraw, ImageFont

    width, height = pictures[0].width + _GAP_PX, pictures[0].height + _LABEL_PX + _GAP_PX
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * width + _GAP_PX, rows * height + _TITLE_PX), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    room = sheet.width - 2 * _GAP_PX
    sizes = (size for size in range(16, 6, -1) if draw.textlength(title, ImageFont.load_default(size=size)) <= room)
    title_font = ImageFont.load_default(size=next(sizes, 6))
    draw.text((_GAP_PX, _TITLE_PX // 2), title, fill=_TEXT, font=title_font, anchor="lm")
    font = ImageFont.load_default(size=13)
    for index, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        left, top = _GAP_PX + index % columns * width, _TITLE_PX + index // columns * height
        sheet.paste(Image.frombytes("RGB", (picture.width, picture.height), picture.rgb), (left, top))
        draw.text((left, top + picture.height + _LABEL_PX // 2), label, fill=_FAINT, font=font, anchor="lm")
    with new_file(target_png.with_name(f"{target_png.name}.part")) as part:
        sheet.save(part, format="PNG", optimize=True)
        part.replace(target_png)
