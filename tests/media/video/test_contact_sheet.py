from pathlib import Path

import pytest

from fakes.clips import clip
from wanworker.errors import NoOutput
from wanworker.media.video.contact_sheet import contact_sheet, evenly_spaced


@pytest.mark.parametrize(
    ("count", "wanted", "expected"),
    [(81, 5, [0, 20, 40, 60, 80]), (3, 12, [0, 1, 2]), (1, 12, [0]), (81, 1, [0]), (10, 2, [0, 9])],
)
def test_frames_are_spread_from_the_first_to_the_last(count: int, wanted: int, expected: list[int]) -> None:
    assert expected == evenly_spaced(count, wanted)


async def test_a_sheet_shows_the_clip_from_black_to_red(tmp_path: Path) -> None:
    from PIL import Image

    sheet = await contact_sheet(clip(tmp_path / "a.mp4", frames=17), tmp_path / "a.png", columns=3, frames=6)
    with Image.open(sheet) as picture:
        picture.load()
        first, last = picture.getpixel((12 + 160, 40 + 120)), picture.getpixel((12 + 2 * 332 + 160, 40 + 276 + 120))

    assert (3 * 332 + 12, 2 * 276 + 40) == picture.size
    assert isinstance(first, tuple)
    assert isinstance(last, tuple)
    assert (0, 0, 0) == pytest.approx(first, abs=4)
    assert (255, 0, 0) == pytest.approx(last, abs=4)
    assert ["a.mp4", "a.png"] == sorted(path.name for path in tmp_path.iterdir())


async def test_a_short_upright_clip_fits_its_title(tmp_path: Path) -> None:
    from PIL import Image

    sheet = await contact_sheet(clip(tmp_path / "a.mp4", frames=1, width=48, height=64), tmp_path / "a.png")
    with Image.open(sheet) as picture:
        size = picture.size

    assert (240 + 24, 320 + 36 + 40) == size


async def test_no_sheet_comes_of_a_broken_file(tmp_path: Path) -> None:
    broken = tmp_path / "a.mp4"
    broken.write_bytes(b"text")

    with pytest.raises(NoOutput):
        await contact_sheet(broken, tmp_path / "a.png")
    assert ["a.mp4"] == [path.name for path in tmp_path.iterdir()]
