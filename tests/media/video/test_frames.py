from pathlib import Path

import pytest

from fakes.clips import clip, read_frames
from wanworker.errors import NoOutput
from wanworker.media.video._frames import read_some


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip(tmp_path_factory.mktemp("frames") / "clip.mp4", frames=9)


def test_all_frames_come_back_in_order(made: Path) -> None:
    frames = read_frames(made)
    reds = frames[:, 24, 32, 0].astype(int).tolist()

    assert (9, 48, 64, 3) == frames.shape
    assert [255 * index // 8 for index in range(9)] == pytest.approx(reds, abs=6)


async def test_chosen_frames_are_scaled_to_their_longer_side(made: Path) -> None:
    first, last = await read_some(made, [0, 8], long_side_px=128)

    assert (128, 96) == (first.width, first.height)
    assert first.rgb[0] < 6
    assert last.rgb[0] > 249


async def test_a_frame_that_is_not_there_is_missed(made: Path) -> None:
    with pytest.raises(NoOutput):
        await read_some(made, [0, 9], long_side_px=128)


async def test_half_a_file_is_not_read_like_a_whole_one(made: Path, tmp_path: Path) -> None:
    half = tmp_path / "half.mp4"
    half.write_bytes(made.read_bytes()[: made.stat().st_size // 2])

    with pytest.raises(NoOutput, match="does not decode"):
        await read_some(half, [0, 8], long_side_px=64)
