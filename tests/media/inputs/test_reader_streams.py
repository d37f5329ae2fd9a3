import asyncio
import io
import struct
from pathlib import Path

import pytest
from PIL import Image

from fakes.recordings import film, sound
from fakes.saved_files import box
from wanworker.errors import InputUnavailable
from wanworker.media.inputs.reader import require_stream
from wanworker.media.video import ffmpeg
from wanworker.media.video._frames import read_some
from wanworker.media.video.conform import conform


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

    async def hang(*_arguments: str, **_options: int) -> ffmpeg.Run:
        nonlocal was_stopped
        try:
            await asyncio.Event().wait()
        finally:
            was_stopped = True
        raise AssertionError

    with pytest.raises(InputUnavailable, match=r"could not be opened within 0\.01 s"):
        await require_stream(tmp_path / "a.mp4", "film", reader="mov", timeout_s=0.01, run=hang)

    assert was_stopped


def jpeg(width: int, height: int, colour: str = "navy") -> bytes:
    written = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(written, "JPEG")
    return written.getvalue()


def promising(samples: int) -> bytes:
    """Return an mp4 of 1 kB with one JPEG, whose index promises *samples* pictures."""

    def numbers(*values: int) -> bytes:
        return struct.pack(f">{len(values)}I", *values)

    picture, matrix = jpeg(64, 64), struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
    entry = box(b"jpeg", bytes(7) + b"\1" + bytes(16) + struct.pack(">HH", 64, 64) + bytes(46) + b"\0\x18\xff\xff")

    def index(picture_at: int) -> bytes:
        tables = (
            box(b"stsd", numbers(0, 1) + entry),
            box(b"stts", numbers(0, 1, samples, 1)),
            box(b"stsc", numbers(0, 1, 1, samples, 1)),
            box(b"stsz", numbers(0, len(picture), samples)),
            box(b"stco", numbers(0, 1, picture_at)),
        )
        head = box(b"tkhd", numbers(7, 0, 0, 1, 0, 1000) + bytes(16) + matrix + numbers(64 << 16, 64 << 16))
        kind = box(b"mdhd", numbers(0, 0, 0, 25, samples, 0)) + box(b"hdlr", numbers(0, 0) + b"vide" + bytes(13))
        media = box(b"mdia", kind + box(b"minf", box(b"vmhd", bytes(12)) + box(b"stbl", b"".join(tables))))
        movie = box(b"mvhd", numbers(0, 0, 0, 1000, 1000) + bytes(80)) + box(b"trak", head + media)
        return box(b"ftyp", b"isom" + bytes(4)) + box(b"moov", movie)

    return index(len(index(0)) + 8) + box(b"mdat", picture)


async def test_an_index_that_promises_more_than_fits_into_memory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "honest.mp4").write_bytes(promising(1))
    (tmp_path / "bomb.mp4").write_bytes(promising(8_000_000))
    limits = {"reader": "mov", "timeout_s": 30, "memory_bytes": 250 * 2**20}

    await require_stream(tmp_path / "honest.mp4", "film", **limits)
    with pytest.raises(InputUnavailable):
        await require_stream(tmp_path / "bomb.mp4", "film", **limits)


async def test_a_frame_too_large_to_decode_is_left_out_also_behind_the_first(tmp_path: Path) -> None:
    pictures, grown, made = (tmp_path / name for name in ("pictures.mjpeg", "grown.mkv", "made.mp4"))
    pictures.write_bytes(jpeg(64, 64) * 3 + jpeg(8000, 5010, "red") + jpeg(64, 64) * 3)
    copying = ("-f", "mjpeg", "-framerate", "10", "-i", f"file:{pictures}", "-c", "copy", f"file:{grown}")
    assert (await ffmpeg.run("-loglevel", "error", *copying)).returncode == 0
    facts = await conform(grown, made, size=(64, 64), fps=10, frames=100, fit="cover")
    frames = await read_some(made, range(facts.frames), long_side_px=64)

    assert facts.frames >= 6
    assert all(frame.rgb[0] < 128 for frame in frames)
