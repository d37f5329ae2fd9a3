import asyncio
import contextlib
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fakes.clips import BLUE, GREEN, RED, clip, converted, long_clip, noisy_clip, read_frames, solid, with_sound
from wanworker.errors import DiskFull, EngineFailed, NoOutput
from wanworker.media.video import ffmpeg, mp4
from wanworker.media.video.writer import VideoWriter, decode_check, probe


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip(tmp_path_factory.mktemp("video") / "clip.mp4")


@pytest.mark.parametrize(("fps", "expected"), [(16, 16.0), (23.976, 24000 / 1001), (29.97, 30000 / 1001), (12.5, 12.5)])
def test_frames_become_a_video_of_that_size_count_and_rate(tmp_path: Path, fps: float, expected: float) -> None:
    facts = mp4.facts(clip(tmp_path / "a.mp4", frames=9, width=96, height=64, fps=fps))

    assert (96, 64, 9, "h264") == (facts.width, facts.height, facts.frames, facts.codec)
    assert expected == pytest.approx(facts.fps, rel=1e-9)


def test_colours_come_back_as_they_went_in(tmp_path: Path) -> None:
    path = tmp_path / "colours.mp4"
    with VideoWriter(path, 64, 48, 8) as writer:
        for color in (RED, GREEN, BLUE, (255, 255, 255), (0, 0, 0), (128, 64, 200)):
            writer.write(solid(color))
    middles = read_frames(path)[:, 24, 32].tolist()

    for given, got in zip((RED, GREEN, BLUE, (255, 255, 255), (0, 0, 0), (128, 64, 200)), middles, strict=True):
        assert list(given) == pytest.approx(got, abs=4)


async def test_the_file_is_tagged_for_players_and_its_index_comes_first(made: Path) -> None:
    said = (await ffmpeg.run(*ffmpeg.reading(made))).stderr
    data = made.read_bytes()

    assert "yuv420p(tv, bt709, progressive)" in said
    assert data.index(b"moov") < data.index(b"mdat")


def test_the_same_frames_give_the_same_bytes_in_another_process(made: Path, tmp_path: Path) -> None:
    program = "import sys; from pathlib import Path; from fakes.clips import clip; clip(Path(sys.argv[1]))"
    other = tmp_path / "other.mp4"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TZ": "Asia/Tokyo"}
    subprocess.run([sys.executable, "-c", program, str(other)], check=True, env=environment)

    assert hashlib.sha256(made.read_bytes()).digest() == hashlib.sha256(other.read_bytes()).digest()


@pytest.mark.parametrize(("width", "height", "fps"), [(65, 48, 16), (64, 47, 16), (0, 48, 16), (64, 48, 0)])
def test_odd_sizes_and_impossible_rates_are_refused(tmp_path: Path, width: int, height: int, fps: float) -> None:
    with pytest.raises(ValueError, match=r"even sides|fps must be"):
        VideoWriter(tmp_path / "a.mp4", width, height, fps)


def test_a_frame_of_the_wrong_length_leaves_no_file(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="has 9216 bytes; got 9213"),
        VideoWriter(tmp_path / "a.mp4", 64, 48, 16) as out,
    ):
        out.write(solid(RED)[:-3])

    assert [] == list(tmp_path.iterdir())


def test_a_failure_between_two_frames_leaves_no_file_and_no_process(tmp_path: Path) -> None:
    before = children()

    def fail() -> None:
        with VideoWriter(tmp_path / "a.mp4", 64, 48, 16) as writer:
            writer.write(solid(RED))
            raise KeyError("the sampler died")

    with pytest.raises(KeyError, match="the sampler died"):
        fail()

    assert [] == list(tmp_path.iterdir())
    assert set() == children() - before


def test_no_frames_are_no_output(tmp_path: Path) -> None:
    with pytest.raises(NoOutput, match="No frame was written"), VideoWriter(tmp_path / "a.mp4", 64, 48, 16):
        pass

    assert [] == list(tmp_path.iterdir())


def test_ffmpegs_own_words_come_out(tmp_path: Path) -> None:
    def fail() -> None:
        with VideoWriter(tmp_path / "missing" / "a.mp4", 64, 48, 16) as writer:
            for _ in range(200):
                writer.write(solid(RED))

    with pytest.raises(EngineFailed, match="No such file or directory"):
        fail()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
def test_a_full_disk_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "a.mp4.part").symlink_to("/dev/full")

    with pytest.raises(DiskFull, match="disk is full"), VideoWriter(tmp_path / "a.mp4", 64, 48, 16) as writer:
        writer.write(solid(RED))
    assert [] == list(tmp_path.iterdir())


async def test_a_good_file_decodes(made: Path) -> None:
    assert mp4.facts(made) == await decode_check(made)


async def test_sound_is_decoded_with_the_pictures(made: Path, tmp_path: Path) -> None:
    facts = await decode_check(with_sound(made, tmp_path / "sound.mp4"))

    assert facts.has_audio


@pytest.mark.parametrize(
    ("suffix", "codec", "arguments"),
    [
        ("webm", "vp9", ("-c:v", "libvpx-vp9")),
        ("mkv", "h264", ("-c:v", "copy")),
        ("mov", "h264", ("-c:v", "copy")),
        ("webp", "webp_anim", ("-loop", "0")),
        ("mp4", "h264", ("-c:v", "copy", "-movflags", "frag_keyframe+empty_moov")),
    ],
    ids=["webm", "mkv", "mov", "webp", "fragmented mp4"],
)
async def test_other_containers_are_probed_and_decoded(
    made: Path, tmp_path: Path, suffix: str, codec: str, arguments: tuple[str, ...]
) -> None:
    path = converted(made, tmp_path / f"a.{suffix}", *arguments)

    for facts in (await probe(path), await decode_check(path)):
        assert (64, 48, 17, codec, False) == (facts.width, facts.height, facts.frames, facts.codec, facts.has_audio)
        assert pytest.approx(facts.fps, abs=0.2) == 16


async def test_what_is_no_video_is_no_output(tmp_path: Path) -> None:
    for name, data in (("a.mp4", b"text named mp4"), ("a.webm", b"\x1aE\xdf\xa3" + b"\x00" * 99), ("a.mp4", b"")):
        path = tmp_path / name
        path.write_bytes(data)
        for check in (probe, decode_check):
            with pytest.raises(NoOutput):
                await check(path)


async def test_a_playlist_is_not_followed(made: Path, tmp_path: Path) -> None:
    path = tmp_path / "list.mp4"
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{made.name}\n#EXT-X-ENDLIST\n")
    (tmp_path / made.name).write_bytes(made.read_bytes())

    with pytest.raises(NoOutput):
        await probe(path)


async def test_damage_inside_the_frames_is_found_by_decoding(tmp_path: Path) -> None:
    data = bytearray(noisy_clip(tmp_path / "noisy.mp4", frames=5, width=64, height=48).read_bytes())
    middle = (data.index(b"mdat") + len(data)) // 2
    data[middle:] = b"\xa5" * (len(data) - middle)
    path = tmp_path / "damaged.mp4"
    path.write_bytes(data)

    assert 5 == (await probe(path)).frames
    with pytest.raises(NoOutput, match="does not decode"):
        await decode_check(path)


async def test_a_cancelled_check_leaves_no_process(tmp_path: Path) -> None:
    path = long_clip(tmp_path / "long.mkv")
    before = children()
    task = asyncio.create_task(decode_check(path))
    while not children() - before:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert set() == children() - before


def children() -> set[str]:
    """
    Return the ids of the child processes of this one, zombies included.

    The process of the tests may have others, such as the decoders of an earlier test.
    """
    found: set[str] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # a thread that ended meanwhile
            found |= set((task / "children").read_text().split())
    return found
