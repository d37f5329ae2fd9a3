"""One complete download, ranges as often as one likes, and transfers that break off."""

import asyncio
import socket
from urllib.parse import urlsplit

import pytest

from fakes.engine import write_clip


async def _finished(rest):
    job_id = await rest.generate()
    await rest.until(job_id)
    return job_id


async def _gone_from_disk(rest):
    async with asyncio.timeout(10):
        while list(rest.worker.settings.out_dir.glob("*.mp4")):
            await asyncio.sleep(0.02)


async def test_a_complete_download_is_the_only_one(rest, clip):
    job_id = await _finished(rest)
    first = await rest.bytes_of(f"/download/{job_id}")
    status = await rest.status(job_id)
    second, failure = await rest.ask("GET", f"/download/{job_id}")
    await rest.session.close()
    await _gone_from_disk(rest)

    assert (200, clip.read_bytes()) == first
    assert ("completed", False) == (status["status"], status["video_ready"])
    assert "download_url" not in status
    assert (410, "GONE") == (second, failure["code"])


async def test_ranges_and_head_leave_the_video_there(rest, clip):
    job_id = await _finished(rest)
    content = clip.read_bytes()
    path = f"/download/{job_id}"
    async with rest.session.head(f"{rest.url}{path}") as head:
        facts = (head.status, head.headers["Content-Length"], head.headers["Accept-Ranges"], head.content_type)
    ranges = [await rest.bytes_of(path, Range=value) for value in ("bytes=0-9", "bytes=0-", "bytes=-5")]
    beyond = await rest.bytes_of(path, Range="bytes=99999999-")

    assert (200, str(len(content)), "bytes", "video/mp4") == facts
    assert [(206, content[:10]), (206, content), (206, content[-5:])] == ranges
    assert 416 == beyond[0]
    assert (200, content) == await rest.bytes_of(path)


async def test_download_once_false_keeps_the_video(serve, clip):
    async with serve(download_once=False) as rest:
        job_id = await _finished(rest)
        answers = [await rest.bytes_of(f"/download/{job_id}") for _ in range(2)]

        assert [(200, clip.read_bytes())] * 2 == answers
        assert (await rest.status(job_id))["video_ready"]


async def test_before_the_end_it_is_409(rest):
    began, go_on = asyncio.Event(), asyncio.Event()

    async def wait(_spec, _path, _report):
        began.set()
        await go_on.wait()

    rest.engine.act = wait
    job_id = await rest.generate()
    await began.wait()
    status, failure = await rest.ask("GET", f"/download/{job_id}")
    go_on.set()

    assert (409, "NOT_READY") == (status, failure["code"])


def _take_some(url, job_id, size_bytes):
    """Read *size_bytes* of the answer and close the socket with the rest unread."""
    place = urlsplit(url)
    with socket.create_connection((place.hostname, place.port)) as client:
        client.sendall(f"GET /download/{job_id} HTTP/1.1\r\nHost: {place.netloc}\r\n\r\n".encode())
        received = b""
        while len(received) < size_bytes:
            received += client.recv(size_bytes - len(received))


@pytest.mark.parametrize("size_px", [(64, 48), (1280, 704)])
async def test_a_transfer_that_breaks_off_loses_nothing(rest, tmp_path, size_px):
    # The small one fits into the kernel's buffers whole: to a server it looks sent.
    rest.engine.clip = clip = write_clip(tmp_path / "clip.mp4", width=size_px[0], height=size_px[1], frames=30)
    job_id = await _finished(rest)
    await asyncio.to_thread(_take_some, rest.url, job_id, 600)
    async with asyncio.timeout(10):
        while not (await rest.status(job_id))["video_ready"]:
            await asyncio.sleep(0.01)

    assert (200, clip.read_bytes()) == await rest.bytes_of(f"/download/{job_id}")


async def test_two_clients_at_once_both_get_it(rest, clip):
    job_id = await _finished(rest)
    answers = await asyncio.gather(*(rest.bytes_of(f"/download/{job_id}") for _ in range(2)))

    assert {200} <= {status for status, _ in answers} <= {200, 410}
    assert all(body == clip.read_bytes() for status, body in answers if status == 200)


async def test_a_video_that_somebody_removed_is_410(rest):
    job_id = await _finished(rest)
    assert (await rest.status(job_id))["video_ready"]
    for path in rest.worker.settings.out_dir.glob("*.mp4"):
        path.unlink()
    status, failure = await rest.ask("GET", f"/download/{job_id}")

    assert (410, "GONE") == (status, failure["code"])
