import asyncio
import os
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from fakes.bucket import S3Server, s3_server
from fakes.sink import sink
from wanworker.media.outputs.bucket import Bucket
from wanworker.media.outputs.upload import UploadFailed, upload

MEASURE = """
import asyncio, sys
import aiohttp
from pathlib import Path
from wanworker.media.outputs.bucket import Bucket

def kib(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))

async def main():
    before = kib("VmRSS")
    from wanworker.media.outputs.upload import upload
    bucket = Bucket.from_parts(endpoint_url=sys.argv[1], access_key_id="id", secret_access_key="key", name="b")
    await upload(bucket, Path(sys.argv[2]), "a.mp4", mime="video/mp4")
    print((kib("VmHWM") - before) * 1024)

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def store() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "a.mp4"
    path.write_bytes(os.urandom(300_000))
    return path


class Pauses(list[float]):
    """Stand in for asyncio.sleep and remember how long each pause would have been."""

    async def __call__(self, seconds: float) -> None:
        self.append(seconds)


def bucket_at(url: str) -> Bucket:
    return Bucket.from_parts(endpoint_url=url, access_key_id="AKIDSECRET", secret_access_key="hush-hush", name="b")


def s3_config(endpoint_url: str) -> dict[str, str]:
    return {
        "accessId": "AKIDSECRET",
        "accessSecret": "hush-hush",
        "bucketName": "b",
        "endpointUrl": endpoint_url,
    }


async def test_the_link_gives_the_file_with_its_type_and_name(store: S3Server, video: Path) -> None:
    url = await upload(store.bucket(prefix="a b"), video, "job 1/x+y.mp4", mime="video/mp4")
    with await asyncio.to_thread(urllib.request.urlopen, url) as answer:
        body, headers = answer.read(), answer.headers

    assert video.read_bytes() == body
    assert ("video/mp4", 'inline; filename="x%2By.mp4"') == (headers["content-type"], headers["content-disposition"])
    assert ["604800"] == parse_qs(urlsplit(url).query)["X-Amz-Expires"]


async def test_the_signature_is_the_one_that_the_service_computes(store: S3Server, video: Path) -> None:
    with store.checking_keys():
        url = await upload(store.bucket(prefix="checked"), video, "job 1/x.mp4", mime="video/mp4")

    assert "/videos/checked/job%201/x.mp4?" in url


async def test_a_wrong_key_fails_at_once_and_is_not_told(store: S3Server, video: Path) -> None:
    pauses = Pauses()
    with store.checking_keys(), pytest.raises(UploadFailed, match="HTTP 403: SignatureDoesNotMatch") as caught:
        await upload(store.bucket(secret_access_key="hush-hush"), video, "x.mp4", mime="video/mp4", sleep=pauses)

    assert [] == pauses
    assert "hush" not in str(caught.value)
    assert store.access_key_id not in str(caught.value)


# aiohttp itself sends once more after a broken connection (0), so that two of them are one attempt of ours.
@pytest.mark.parametrize(("statuses", "paused"), [([500], [1.0]), ([503, 0, 0, 429], [1.0, 3.0, 9.0])])
async def test_server_errors_and_broken_connections_are_tried_again(
    video: Path, statuses: list[int], paused: list[float]
) -> None:
    pauses = Pauses()
    async with sink(statuses) as server:
        url = await upload(bucket_at(server.url), video, "x.mp4", mime="video/mp4", sleep=pauses)

    assert paused == pauses
    assert url.startswith(f"{server.url}/b/x.mp4?")
    assert 300_000 == server.received[-1][2]
    assert "300000" == server.received[-1][1]["Content-Length"]


async def test_a_service_that_stays_down_is_given_up(video: Path) -> None:
    pauses = Pauses()
    async with sink([500, 502, 503, 504, 500]) as server:
        with pytest.raises(
            UploadFailed, match=r"The bucket 'b' did not take the file: HTTP 504: Code504: About Code504\."
        ):
            await upload(bucket_at(server.url), video, "x.mp4", mime="video/mp4", sleep=pauses)

    assert [1.0, 3.0, 9.0] == pauses
    assert 4 == len(server.received)


@pytest.mark.parametrize("status", [301, 307, 400, 404])
async def test_what_will_not_get_better_is_not_tried_again(video: Path, status: int) -> None:
    pauses = Pauses()
    async with sink([status]) as server:
        with pytest.raises(UploadFailed, match=f"HTTP {status}"):
            await upload(bucket_at(server.url), video, "x.mp4", mime="video/mp4", sleep=pauses)

    assert [] == pauses
    assert 1 == len(server.received)


async def test_a_host_that_is_not_there_is_a_failed_upload(video: Path) -> None:
    with pytest.raises(UploadFailed, match="Cannot connect"):
        await upload(bucket_at("http://127.0.0.1:1"), video, "x.mp4", mime="video/mp4", sleep=Pauses())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_job_cannot_send_its_video_to_a_private_address(video: Path, host: str) -> None:
    pauses = Pauses()
    async with sink() as server:
        config = s3_config(f"http://{host}:{urlsplit(server.url).port}")
        with pytest.raises(UploadFailed, match="private address"):
            await upload(Bucket.from_s3_config(config), video, "x.mp4", mime="video/mp4", sleep=pauses)
        refused = list(server.received)
        allowed = Bucket.from_s3_config(config, allow_hosts=(host,))
        await upload(allowed, video, "x.mp4", mime="video/mp4", sleep=pauses)

    assert [] == pauses
    assert [] == refused
    assert 1 == len(server.received)


async def test_an_address_in_a_strange_spelling_is_refused(video: Path) -> None:
    config = s3_config("http://2130706433")

    with pytest.raises(UploadFailed, match=r"private address|not a canonical IPv4"):
        await upload(Bucket.from_s3_config(config), video, "x.mp4", mime="video/mp4", sleep=Pauses())


async def test_a_missing_file_is_not_the_buckets_fault(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await upload(bucket_at("http://127.0.0.1:1"), tmp_path / "gone.mp4", "x.mp4", mime="video/mp4", sleep=Pauses())


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from Linux's /proc")
async def test_100_mb_add_little_to_the_process(tmp_path: Path) -> None:
    path = tmp_path / "large.mp4"
    with path.open("wb") as file:
        file.truncate(100_000_000)
    async with sink() as server:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", MEASURE, server.url, str(path)),
            stdout=asyncio.subprocess.PIPE,
            env={"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        added, _ = await process.communicate()

    assert 100_000_000 == server.received[0][2]
    # Nine are usual, but malloc keeps what it likes. The whole file would be a hundred.
    assert 0 < int(added) <= 16_000_000
