"""Lists of other files that begin like sounds and films: ffmpeg opens each as what it begins like, and nothing else."""

import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from fakes.clips import clip
from fakes.recordings import film, sound
from wanworker.engines.wan_cli._s2v import duration_s
from wanworker.errors import WorkerError
from wanworker.media.inputs.reader import InputReader, Source
from wanworker.media.video.contact_sheet import contact_sheet
from wanworker.media.video.sound import add_sound, sound_duration_s
from wanworker.media.video.writer import decode_check, probe

#: The head of an MP3 with an empty tag, which ffmpeg skips before it guesses.
ID3 = b"ID3\x03\0\0\0\0\0\0"
CONCAT = "ffconcat version 1.0\nfile secret{}\nduration 0.3\n"
HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret{}\n#EXT-X-ENDLIST\n"


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a sound and a film, to be copied."""
    made = tmp_path_factory.mktemp("secrets")
    sound(made / "secret.wav")
    film(made / "secret.mkv", with_sound=True)
    return made


@pytest.fixture
def folder(tmp_path: Path, secrets: Path) -> Path:
    """Return a folder with a sound and a film that no caller may name."""
    return shutil.copytree(secrets, tmp_path, dirs_exist_ok=True)


@pytest.mark.parametrize("text", [CONCAT, HLS], ids=["concat", "hls"])
@pytest.mark.parametrize("name", ["list.wav", "list.mp4", "list.m3u8"])
@pytest.mark.parametrize("kind", ["sound", "film"])
async def test_a_list_under_another_name_is_no_input(kind: str, name: str, text: str, folder: Path) -> None:
    (folder / name).write_text(text.format(".wav" if kind == "sound" else ".mkv"))
    reader = InputReader(roots=(folder,))
    read = reader.audio if kind == "sound" else reader.video

    with pytest.raises(WorkerError, match="looks like"):
        await read(Source("path", name), folder, "input")


async def sheet(path: Path) -> None:
    await contact_sheet(path, path.with_suffix(".png"))


async def joined(path: Path) -> None:
    await add_sound(clip(path.parent / "silent.mp4"), path, path.parent / "joined.mp4", duration_s=0.3)


async def measured(path: Path) -> None:
    assert await duration_s(path) is None
    raise WorkerError("unknown, as it should be")


@pytest.mark.parametrize("text", [CONCAT, HLS], ids=["concat", "hls"])
@pytest.mark.parametrize(
    "head", [b"", ID3, b"\0\0\0\x10ftypisom\0\0\0\0"], ids=["bare", "mp3", "mp4"]
)  # fmt: skip
@pytest.mark.parametrize("open_it", [probe, decode_check, sound_duration_s, joined, measured, sheet])
async def test_nothing_that_opens_a_callers_file_follows_a_list(
    open_it: Callable[[Path], Awaitable[object]], head: bytes, text: str, folder: Path
) -> None:
    ending = ".wav" if open_it in {sound_duration_s, joined, measured} else ".mkv"
    path = folder / "input.m3u8"
    path.write_bytes(head + text.format(ending).encode())

    with pytest.raises(WorkerError):
        await open_it(path)
