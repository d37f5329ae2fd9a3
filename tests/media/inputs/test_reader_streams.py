import asyncio
from pathlib import Path

import pytest

from fakes.recordings import film, sound
from wanworker.errors import InputUnavailable
from wanworker.media.inputs.reader import require_stream
from wanworker.media.video import ffmpeg


@pytest.mark.parametrize(("suffix", "reader"), [("wav", "wav"), ("flac", "flac"), ("ogg", "ogg"), ("m4a", "mov")])
async def test_a_sound_that_decodes_passes(suffix: str, reader: str, tmp_path: Path) -> None:
    await require_stream(sound(tmp_path / f"a.{suffix}"), "sound", reader=reader, timeout_s=30)


@pytest.mark.parametrize(("suffix", "reader"), [("mp4", "mov"), ("mkv", "matroska"), ("avi", "avi"), ("gif", "gif")])
async def test_a_film_that_decodes_passes(suffix: str, reader: str, tmp_path: Path) -> None:
    await require_stream(film(tmp_path / f"a.{suffix}"), "film", reader=reader, timeout_s=30)


async def test_a_film_with_sound_holds_both_and_a_silent_one_does_not(tmp_path: Path) -> None:
    both, silent = film(tmp_path / "both.mp4", with_sound=True), film(tmp_path / "silent.mp4")

    await require_stream(both, "sound", reader="mov", timeout_s=30)
    await require_stream(both, "film", reader="mov", timeout_s=30)
    with pytest.raises(InputUnavailable, match="it holds no sound that can be decoded"):
        await require_stream(silent, "sound", reader="mov", timeout_s=30)


async def test_a_cover_picture_is_no_film(tmp_path: Path) -> None:
    with pytest.raises(InputUnavailable, match="it holds no moving picture"):
        await require_stream(sound(tmp_path / "a.m4a", with_cover=True), "film", reader="mov", timeout_s=30)


async def test_a_film_that_was_cut_off_before_its_index_does_not_pass(tmp_path: Path) -> None:
    whole = film(tmp_path / "a.mp4")
    whole.write_bytes(whole.read_bytes()[:-400])

    with pytest.raises(InputUnavailable, match="no moving picture that can be decoded"):
        await require_stream(whole, "film", reader="mov", timeout_s=30)


async def test_a_list_of_other_files_is_not_followed(tmp_path: Path) -> None:
    film(tmp_path / "private.mp4")
    playlist = tmp_path / "a.m3u8"
    playlist.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nprivate.mp4\n#EXT-X-ENDLIST\n")
    for reader in ("mov", "matroska", "avi"):
        with pytest.raises(InputUnavailable):
            await require_stream(playlist, "film", reader=reader, timeout_s=30)


async def test_frames_too_large_to_decode_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputUnavailable):
        await require_stream(film(tmp_path / "a.gif", size="9000x5000"), "film", reader="gif", timeout_s=30)


async def test_a_file_that_keeps_ffmpeg_busy_is_given_up_on(tmp_path: Path) -> None:
    was_stopped = False

    async def hang(*arguments: str) -> ffmpeg.Run:
        nonlocal was_stopped
        try:
            await asyncio.Event().wait()
        finally:
            was_stopped = True
        raise AssertionError

    with pytest.raises(InputUnavailable, match=r"could not be opened within 0\.01 s"):
        await require_stream(tmp_path / "a.mp4", "film", reader="mov", timeout_s=0.01, run=hang)

    assert was_stopped
