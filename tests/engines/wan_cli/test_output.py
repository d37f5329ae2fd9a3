from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from wanworker.engines.wan_cli._output import check, move
from wanworker.errors import EngineFailed, NoOutput

SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class Facts:
    has_audio: bool


async def silent(path: Path) -> Facts:
    return Facts(has_audio=False)


async def damaged(path: Path) -> Facts:
    raise NoOutput(f"{path.name} does not decode.")


async def test_a_whole_file_passes(tmp_path: Path) -> None:
    made = tmp_path / "video.mp4"
    made.write_bytes(b"video")

    await check(made, silent, needs_sound=False, told="")


async def test_a_link_is_no_output_wherever_it_leads(tmp_path: Path) -> None:
    (tmp_path / "other.mp4").write_bytes(b"of somebody else")
    made = tmp_path / "video.mp4"
    made.symlink_to(tmp_path / "other.mp4")

    with pytest.raises(NoOutput, match="left a link in place of its video"):
        await check(made, silent, needs_sound=False, told="")


@pytest.mark.parametrize("content", [None, b""])
async def test_a_missing_or_empty_file_is_no_output(tmp_path: Path, content: bytes | None) -> None:
    made = tmp_path / "video.mp4"
    if content is not None:
        made.write_bytes(content)

    with pytest.raises(NoOutput, match=r"wrote no video\. It wrote: x"):
        await check(made, silent, needs_sound=False, told=" It wrote: x")


async def test_a_damaged_file_is_no_output(tmp_path: Path) -> None:
    (tmp_path / "video.mp4").write_bytes(b"video")

    with pytest.raises(NoOutput, match=r"is damaged: video.mp4 does not decode\."):
        await check(tmp_path / "video.mp4", damaged, needs_sound=False, told="")


async def test_a_silent_file_that_should_sound_is_no_output(tmp_path: Path) -> None:
    (tmp_path / "video.mp4").write_bytes(b"video")

    with pytest.raises(NoOutput, match="has no sound"):
        await check(tmp_path / "video.mp4", silent, needs_sound=True, told="")


async def test_a_file_moves_to_its_place(tmp_path: Path) -> None:
    (tmp_path / "made").write_bytes(b"video")

    await move(tmp_path / "made", tmp_path / "out.mp4")

    assert (tmp_path / "out.mp4").read_bytes() == b"video"


async def test_a_file_moves_to_another_disk(tmp_path: Path) -> None:
    if not SHARED_MEMORY.is_dir() or SHARED_MEMORY.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system here")
    with TemporaryDirectory(dir=SHARED_MEMORY) as other:
        made = Path(other) / "made"
        made.write_bytes(b"video")

        await move(made, tmp_path / "out.mp4")

        assert (tmp_path / "out.mp4").read_bytes() == b"video"


async def test_a_place_that_is_not_there_is_told(tmp_path: Path) -> None:
    (tmp_path / "made").write_bytes(b"video")

    with pytest.raises(EngineFailed, match="could not be put into"):
        await move(tmp_path / "made", tmp_path / "nowhere" / "out.mp4")
