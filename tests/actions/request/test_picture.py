"""The size that a picture gives: within the range, in its shape, and told."""

import pytest
from PIL import Image

from wanworker.actions.request.picture import sized_by_picture
from wanworker.errors import InputRefused
from wanworker.spec import Size

AREA = 1280 * 720


def picture(folder, width, height):
    Image.new("RGB", (width, height), "red").save(folder / "image.png")
    return folder / "image.png"


async def test_a_common_shape_changes_nothing(tmp_path):
    path, notes = picture(tmp_path, 160, 90), []

    assert await sized_by_picture(path, area=AREA, multiple=16, notes=notes) == (Size(1280, 720), path)
    assert notes == []


@pytest.mark.parametrize(
    ("sides", "multiple", "size"),
    [
        ((3000, 500), 16, Size(2016, 336)),
        ((500, 3000), 16, Size(336, 2016)),
        ((3200, 100), 16, Size(2048, 64)),
        ((3000, 500), 32, Size(1920, 320)),
        ((310, 10), 32, Size(1984, 64)),
    ],
)
async def test_a_panorama_keeps_to_the_range_and_says_so(tmp_path, sides, multiple, size):
    notes = []
    found, shaped = await sized_by_picture(picture(tmp_path, *sides), area=AREA, multiple=multiple, notes=notes)

    assert found == size.checked()
    assert notes[0].startswith(f"size {size} was chosen for the picture of {sides[0]} x {sides[1]}")
    with Image.open(shaped) as opened:
        assert abs(opened.width / opened.height / size.aspect - 1) < 0.01


async def test_a_cropped_panorama_is_told(tmp_path):
    notes = []
    await sized_by_picture(picture(tmp_path, 2750, 500), area=AREA, multiple=32, notes=notes)

    assert notes[1] == "image was cropped (centre) to the shape of 1920*352."


@pytest.mark.parametrize(("sides", "words"), [((4000, 10), "4000 x 10, 400:1"), ((10, 330), "10 x 330, 1:33")])
async def test_a_picture_that_no_size_can_show_is_refused_with_its_numbers(tmp_path, sides, words):
    with pytest.raises(InputRefused, match=f"{words}; the limit is 32:1"):
        await sized_by_picture(picture(tmp_path, *sides), area=AREA, multiple=16, notes=[])
