import asyncio
import io
import os
import struct
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from fakes.decoders import decoder
from fakes.pictures import png_bomb, png_chunk
from wanworker.errors import DiskFull, EngineUnavailable, InputRefused, InputUnavailable
from wanworker.media.inputs.decoding import _child, _picture_cost
from wanworker.media.inputs.decoding.decoders import PictureDecoders

LIMIT = 64_000_000


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.new("RGB", (64, 32), "red").save(tmp_path / "picture.jpg")
    return tmp_path / "picture.jpg"


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def written(path: Path) -> int:
    """Return the process id in *path* once it is there."""
    async with asyncio.timeout(20):
        while not (path.exists() and (text := path.read_text())):
            await asyncio.sleep(0.01)
    return int(text)


async def test_a_picture_is_decoded_and_nothing_runs_before_the_first(picture: Path, tmp_path: Path) -> None:
    decoders = PictureDecoders(argv=("no such program",))
    with pytest.raises(EngineUnavailable, match="The decoder of pictures cannot be started"):
        await decoders.clean_png(picture, tmp_path / "clean.png", max_pixels=LIMIT)
    decoders = PictureDecoders()

    await decoders.clean_png(picture, tmp_path / "clean.png", max_pixels=LIMIT)

    decoders.close()
    with Image.open(tmp_path / "clean.png") as clean:
        assert (clean.format, clean.mode, clean.size) == ("PNG", "RGB", (64, 32))


async def test_what_the_child_refuses_arrives_as_the_same_error_and_the_child_goes_on(tmp_path: Path) -> None:
    decoders = PictureDecoders()
    (tmp_path / "words").write_bytes(b"not a picture")
    (tmp_path / "bomb").write_bytes(png_bomb(10_000))
    (tmp_path / "good").write_bytes(png_bomb(64))
    (tmp_path / "full").symlink_to("/dev/full")

    with pytest.raises(InputUnavailable, match="looks like plain text, not a picture") as unavailable:
        await decoders.clean_png(tmp_path / "words", tmp_path / "a", max_pixels=LIMIT)
    with pytest.raises(InputRefused, match="100 megapixels"):
        await decoders.clean_png(tmp_path / "bomb", tmp_path / "b", max_pixels=LIMIT)
    with pytest.raises(DiskFull):
        await decoders.clean_png(tmp_path / "good", tmp_path / "full", max_pixels=LIMIT)
    await decoders.clean_png(tmp_path / "good", tmp_path / "d", max_pixels=LIMIT)

    assert unavailable.value.hint == "Send a PNG, JPEG, WebP, AVIF, GIF, BMP or TIFF picture."
    decoders.close()


async def test_a_child_serves_the_next_picture_too(picture: Path, tmp_path: Path) -> None:
    decoders = PictureDecoders(argv=decoder("counts"))

    for name in "ab":
        await decoders.clean_png(picture, tmp_path / name, max_pixels=LIMIT)

    pid = int((tmp_path / "a").read_text())
    assert (tmp_path / "b").read_text() == str(pid)
    assert is_alive(pid)
    decoders.close()
    assert not is_alive(pid)
    await decoders.clean_png(picture, tmp_path / "c", max_pixels=LIMIT)
    assert is_alive(another := int((tmp_path / "c").read_text()))
    del decoders
    assert not is_alive(another)


async def test_a_child_that_has_ended_is_replaced(picture: Path, tmp_path: Path) -> None:
    decoders = PictureDecoders(argv=decoder("once"))
    await decoders.clean_png(picture, tmp_path / "a", max_pixels=LIMIT)
    first = int((tmp_path / "a").read_text())
    os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222 - it has left its loop already

    await decoders.clean_png(picture, tmp_path / "b", max_pixels=LIMIT)

    assert int((tmp_path / "b").read_text()) != first


async def test_a_picture_that_takes_too_long_is_refused_and_its_process_gone(picture: Path, tmp_path: Path) -> None:
    limits: dict[float, asyncio.Timeout] = {}

    def held(limit_s: float) -> asyncio.Timeout:
        """Return a limit that ends when the test says so, however long the child takes to start."""
        return limits.setdefault(limit_s, asyncio.timeout(None))

    decoders = PictureDecoders(argv=decoder("hangs"), patience_s=1.5, timeout=held)
    job = asyncio.create_task(decoders.clean_png(picture, tmp_path / "pid", max_pixels=LIMIT))
    pid = await written(tmp_path / "pid")
    limits[1.5].reschedule(asyncio.get_running_loop().time())

    with pytest.raises(InputRefused, match=r"^the picture took longer than 1.5 s to decode\.$"):
        await job

    assert not is_alive(pid)
    assert not (tmp_path / "pid").exists()


async def test_a_picture_that_takes_too_much_processor_time_is_refused(tmp_path: Path) -> None:
    (tmp_path / "slow.jpg").write_bytes(progressive(100, side=2000))
    decoders = PictureDecoders(limit_s=0.1)

    with pytest.raises(InputRefused, match=r"^the picture took longer than 0.1 s to decode\.$"):
        await decoders.clean_png(tmp_path / "slow.jpg", tmp_path / "clean.png", max_pixels=LIMIT)

    assert not (tmp_path / "clean.png").exists()


async def test_cancellation_ends_the_decoding_at_once_and_frees_its_turn(picture: Path, tmp_path: Path) -> None:
    decoders = PictureDecoders(argv=decoder("hangs"), most=1)
    for _ in range(2):
        job = asyncio.create_task(decoders.clean_png(picture, tmp_path / "pid", max_pixels=LIMIT))
        pid = await written(tmp_path / "pid")

        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job

        assert not is_alive(pid)
        assert not (tmp_path / "pid").exists()


@pytest.mark.parametrize("behaviour", ["crashes", "babbles", "nonsense"])
async def test_a_child_that_crashes_or_talks_nonsense_is_a_refused_picture(
    behaviour: str, picture: Path, tmp_path: Path
) -> None:
    decoders = PictureDecoders(argv=decoder(behaviour))

    with pytest.raises(InputRefused, match="the picture made its decoder crash"):
        await decoders.clean_png(picture, tmp_path / "clean.png", max_pixels=LIMIT)


async def test_the_child_is_bounded_in_memory(picture: Path, tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 1, 0, 0, 0, 0)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b"") + png_chunk(b"IEND", b"")
    (tmp_path / "large.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    decoders = PictureDecoders()

    with pytest.raises(InputRefused, match="needs more than 2 GiB of memory"):
        await decoders.clean_png(tmp_path / "large.png", tmp_path / "clean.png", max_pixels=10**10)

    await decoders.clean_png(picture, tmp_path / "clean.png", max_pixels=LIMIT)
    decoders.close()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_the_child_sees_no_secret(picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAN_API_KEY", "secret")
    decoders = PictureDecoders()
    await decoders.clean_png(picture, tmp_path / "clean.png", max_pixels=LIMIT)
    (child,) = decoders._children

    environment = Path("/proc", str(child._process.pid), "environ").read_bytes()

    assert b"PYTHONPATH=" in environment
    assert b"secret" not in environment
    decoders.close()


def progressive(scans: int, side: int = 256) -> bytes:
    """Return a progressive JPEG whose last scan comes again until there are *scans*."""
    buffer = io.BytesIO()
    Image.effect_noise((side, side), 60).save(buffer, "JPEG", progressive=True, quality=90)
    content = buffer.getvalue()
    last = content.rindex(b"\xff\xda")
    return content[:last] + content[last:-2] * (scans - content[:last].count(b"\xff\xda")) + b"\xff\xd9"


def parts(kind: bytes, count: int) -> bytes:
    """Return a PNG with *count* small chunks before its pixels."""
    whole = png_bomb(64)
    return whole[:33] + png_chunk(kind, b"\0\0\0\0") * count + whole[33:]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (progressive(1000), "a JPEG picture of more than 100 scans"),
        (parts(b"juNk", 50_001), "a PNG picture of more than 50,000 parts"),
        (parts(b"fcTL", 10_001), "a PNG picture of more than 10,000 frames"),
        (b"\xff\xd8" + b"\xff\xe0\0\x02" * 60_000, "a JPEG picture of more than 50,000 parts"),
        (b"RIFF\0\0\0\0WEBP" + struct.pack("<4sI", b"ANMF", 0) * 10_001, "a WebP picture of more than 10,000 frames"),
    ],
    ids=["scans", "chunks", "frames", "segments", "webp"],
)
async def test_pictures_of_too_many_parts_are_refused_before_they_are_decoded(
    content: bytes, said: str, tmp_path: Path
) -> None:
    (tmp_path / "picture").write_bytes(content)
    decoders = PictureDecoders()

    began = time.process_time()
    with pytest.raises(InputRefused, match=said):
        await decoders.clean_png(tmp_path / "picture", tmp_path / "clean.png", max_pixels=LIMIT)
    decoders.close()

    assert time.process_time() - began < 1  # this process only waits


@pytest.mark.parametrize("content", [progressive(100), parts(b"juNk", 40_000)], ids=["scans", "chunks"])
async def test_what_encoders_write_is_far_from_the_limits(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "picture").write_bytes(content)
    decoders = PictureDecoders()

    await decoders.clean_png(tmp_path / "picture", tmp_path / "clean.png", max_pixels=LIMIT)

    assert (tmp_path / "clean.png").stat().st_size
    decoders.close()


async def test_bytes_after_a_jpeg_are_not_its_scans(tmp_path: Path) -> None:
    (tmp_path / "motion.jpg").write_bytes(progressive(10) + b"\xff\xda\0\x08" * 1000)
    decoders = PictureDecoders()

    await decoders.clean_png(tmp_path / "motion.jpg", tmp_path / "clean.png", max_pixels=LIMIT)

    decoders.close()


def test_the_limits_are_those_that_the_documents_tell() -> None:
    assert (100, 50_000, 10_000) == (_picture_cost.MAX_SCANS, _picture_cost.MAX_PARTS, _picture_cost.MAX_FRAMES)
    assert 2 * 1024**3 == _child.ADDRESS_SPACE_BYTES
