import asyncio
import subprocess
from fractions import Fraction
from pathlib import Path

import pytest

from wanworker.errors import DiskFull, EngineFailed
from wanworker.media.video import ffmpeg

WEBM = """\
Input #0, matroska,webm, from 'file:a.webm':
  Duration: 00:00:01.00, start: 0.000000, bitrate: 11 kb/s
  Stream #0:0: Video: vp9 (Profile 0), yuv420p(tv, bt709), 64x48, SAR 1:1 DAR 4:3, 23.98 fps, 23.98 tbr, 1k tbn
  Stream #0:1: Audio: opus, 48000 Hz, mono, fltp
Output #0, null, to 'pipe:':
  Stream #0:0: Video: wrapped_avframe, yuv420p(tv), 64x48 [SAR 1:1 DAR 4:3], q=2-31, 200 kb/s, 23.98 fps, 23.98 tbn
"""


@pytest.mark.parametrize(
    ("fps", "expected"),
    [
        (16, Fraction(16)),
        (23.976, Fraction(24000, 1001)),
        (23.98, Fraction(24000, 1001)),
        (29.97, Fraction(30000, 1001)),
        (59.94, Fraction(60000, 1001)),
        (12.5, Fraction(25, 2)),
        (1, Fraction(1)),
        (0.5, Fraction(1, 2)),
    ],
)
def test_rates_become_the_fractions_that_video_uses(fps: float, expected: Fraction) -> None:
    assert expected == ffmpeg.rate(fps)


def test_facts_are_read_from_what_ffmpeg_prints() -> None:
    facts = ffmpeg.facts_in(WEBM, frames=24, size_bytes=1445)

    assert facts is not None
    assert (64, 48, 24, "vp9", True) == (facts.width, facts.height, facts.frames, facts.codec, facts.has_audio)
    assert 24000 / 1001 == pytest.approx(facts.fps)
    assert 1.001 == pytest.approx(facts.duration_s)


def test_without_frames_or_video_there_are_no_facts() -> None:
    assert ffmpeg.facts_in(WEBM, frames=0, size_bytes=1) is None
    assert (
        ffmpeg.facts_in("Input #0, wav, from 'a.wav':\n  Stream #0:0: Audio: pcm_s16le", frames=9, size_bytes=1) is None
    )


@pytest.mark.parametrize("words", ["No space left on device", "Disk quota exceeded", "Read-only file system"])
def test_a_full_disk_and_a_full_volume_are_called_so(words: str) -> None:
    assert isinstance(ffmpeg.failure("encode a.mp4", 1, f"av_interleaved_write_frame(): {words}"), DiskFull)


def test_a_failure_says_how_it_ended_and_what_ffmpeg_said() -> None:
    said = "frame=    0 fps=0.0\n[h264 @ 0x55d0c0ffee] no frame!\nConversion failed!\n"

    assert "ffmpeg could not encode a.mp4: it ended with code 1. [h264] no frame!" == str(
        ffmpeg.failure("encode a.mp4", 1, said)
    )
    killed = ffmpeg.failure("encode a.mp4", -9, "")
    assert isinstance(killed, EngineFailed)
    assert "was killed by signal 9." in str(killed)


async def test_a_run_gets_nothing_of_our_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ffmpeg.program()  # imageio-ffmpeg looks for it by running it, in the environment as it is
    # FFREPORT makes ffmpeg write a report into the current folder: a variable whose effect can be seen.
    monkeypatch.setenv("FFREPORT", "file=report.log:level=32")
    monkeypatch.chdir(tmp_path)
    finished = await ffmpeg.run("-version")

    assert finished.stdout.startswith(b"ffmpeg version")
    assert [] == list(tmp_path.iterdir())


async def test_cancelled_while_it_is_heard_the_process_is_dead_at_once() -> None:
    heard = asyncio.Event()
    minutes = ("-re", "-f", "lavfi", "-i", "testsrc=size=64x64:rate=25:duration=600", "-progress", "pipe:1")
    work = asyncio.ensure_future(ffmpeg.run(*minutes, "-f", "null", "-", on_line=lambda _line: heard.set()))
    await heard.wait()
    work.cancel()

    ended, _ = await asyncio.wait({work}, timeout=20)

    assert {work} == ended
    assert work.cancelled()


def complaining(path):
    """Write a film of one good frame and 8,000 broken ones, for each of which ffmpeg complains on two lines."""
    encoded = ("-frames:v", "2", "-c:v", "mjpeg", "-f", "matroska", "-live", "1", f"file:{path}")
    argv = (ffmpeg.program(), "-loglevel", "error", "-y", "-f", "lavfi", "-i", "testsrc=size=64x64:rate=25", *encoded)
    subprocess.run(argv, check=True)
    cluster = bytes.fromhex("1F43B67501FFFFFFFFFFFFFFE78100")
    blocks = (b"\xa3\x86\x81%b\x80%b" % (at.to_bytes(2, "big"), bytes((at % 7, at % 5))) for at in range(3, 8_000))
    with path.open("ab") as file:
        file.write(cluster + b"".join(blocks))
    return path


@pytest.mark.parametrize("on_line", [None, lambda _line: None])
async def test_of_endless_complaints_the_beginning_and_the_end_are_kept(tmp_path, on_line):
    film = complaining(tmp_path / "film.mkv")
    progress = ("-nostats", "-progress", "pipe:1", "-f", "null", "-")
    finished = await ffmpeg.run(*ffmpeg.reading(film), "-map", "0:v:0", *progress, on_line=on_line)

    assert len(finished.stderr) < 300_000
    assert "Input #0, matroska" in finished.stderr
    assert "Terminating thread" in ffmpeg.last_words(finished.stderr)
