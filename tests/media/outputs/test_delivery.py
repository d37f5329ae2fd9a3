import base64
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fakes.bucket import S3Server, s3_server
from fakes.clips import noisy_clip
from fakes.sink import sink
from wanworker.media.outputs.base64_text import encoded_chars
from wanworker.media.outputs.bucket import Bucket, NoBucket
from wanworker.media.outputs.delivery import ENVELOPE_BYTES, Delivered, deliver
from wanworker.media.video import mp4
from wanworker.media.video.writer import decode_check

URI = "data:video/mp4;base64,"
BUCKET = Bucket.from_parts(endpoint_url="http://127.0.0.1", access_key_id="id", secret_access_key="hush", name="b")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return noisy_clip(tmp_path_factory.mktemp("outputs") / "job-1.mp4", frames=17)


@pytest.fixture(scope="module")
def store() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


async def no_pause(_seconds: float) -> None:
    return None


async def delivered(video: Path, tmp_path: Path, **changes: Any) -> Delivered:
    """Deliver *video* into an answer of 1000 bytes that has room for all, as data, without a bucket; less *changes*."""
    arguments: dict[str, Any] = {
        "mime": "video/mp4",
        "facts": mp4.facts(video) if video.suffix == ".mp4" else None,
        "want_data": True,
        "answer_bytes": 1000,
        "limit_bytes": 10_000_000,
        "bucket": None,
        "key": "job-1/job-1.mp4",
        "work_dir": tmp_path,
        "sleep": no_pause,
    }
    return await deliver(video, **{**arguments, **changes})


def exact_limit(video: Path) -> int:
    return 1000 + ENVELOPE_BYTES + encoded_chars(video.stat().st_size, prefix=URI)


def decoded(data: str | None, target: Path) -> Path:
    assert data is not None
    target.write_bytes(base64.b64decode(data.removeprefix(URI)))
    return target


async def test_what_fits_is_a_data_uri(video: Path, tmp_path: Path) -> None:
    result = await delivered(video, tmp_path)

    assert URI + base64.b64encode(video.read_bytes()).decode() == result.data
    assert (None, video) == (result.url, result.path)
    assert ("base64", video.stat().st_size) == (result.report["how"], result.report["size_bytes"])


async def test_bare_base64_has_no_prefix(video: Path, tmp_path: Path) -> None:
    result = await delivered(video, tmp_path, bare=True)

    assert base64.b64encode(video.read_bytes()).decode() == result.data


async def test_the_limit_is_met_exactly_and_one_byte_less_is_too_little(video: Path, tmp_path: Path) -> None:
    exact = await delivered(video, tmp_path, limit_bytes=exact_limit(video))
    above = await delivered(video, tmp_path, limit_bytes=exact_limit(video) - 1)

    assert "base64" == exact.report["how"]
    assert "reencoded" == above.report["how"]


@pytest.mark.parametrize("lack", [0, 1, 200_000])
async def test_the_whole_answer_keeps_within_the_limit(video: Path, tmp_path: Path, lack: int) -> None:
    limit = exact_limit(video) - lack
    result = await delivered(video, tmp_path, limit_bytes=limit)
    sent = {"output": {"answer": "x" * 986, "data": result.data, "delivery": result.report}}

    assert result.data is not None
    assert len(json.dumps(sent)) <= limit


async def test_what_is_too_large_goes_to_the_bucket(video: Path, tmp_path: Path, store: S3Server) -> None:
    result = await delivered(video, tmp_path, limit_bytes=100_000, bucket=store.bucket())

    assert result.data is None
    assert result.url is not None
    assert "/videos/job-1/job-1.mp4?" in result.url
    assert ("bucket", 604_800) == (result.report["how"], result.report["url_expires_s"])
    assert "X-Amz" not in json.dumps(result.report)


async def test_what_fits_is_not_uploaded(video: Path, tmp_path: Path) -> None:
    async with sink() as server:
        result = await delivered(video, tmp_path, bucket=bucket_at(server.url))

    assert ("base64", None, []) == (result.report["how"], result.url, server.received)


async def test_a_bucket_that_refuses_leads_to_a_smaller_copy(video: Path, tmp_path: Path, store: S3Server) -> None:
    bucket = store.bucket(secret_access_key="wrong")
    limit = exact_limit(video) * 6 // 10
    with store.checking_keys():
        result = await delivered(video, tmp_path, limit_bytes=limit, bucket=bucket)

    assert "reencoded" == result.report["how"]
    assert "SignatureDoesNotMatch" in result.report["reason"]
    assert result.data is not None


async def test_a_copy_fits_and_has_the_same_frames_and_rate(video: Path, tmp_path: Path) -> None:
    before = video.read_bytes()
    limit = exact_limit(video) // 2
    result = await delivered(video, tmp_path, limit_bytes=limit)
    assert [] == list(tmp_path.iterdir())
    copy = await decode_check(decoded(result.data, tmp_path / "copy.mp4"))

    assert (17, 16.0) == (copy.frames, copy.fps)
    assert len(result.data or "") <= limit - 1000 - ENVELOPE_BYTES
    assert (copy.size_bytes, len(before)) == (result.report["size_bytes"], result.report["original_size_bytes"])
    assert str(video) == result.report["original_path"]
    assert before == video.read_bytes()


async def test_what_cannot_be_made_small_enough_has_its_path(video: Path, tmp_path: Path) -> None:
    result = await delivered(video, tmp_path, limit_bytes=8000)

    assert (None, None, video) == (result.data, result.url, result.path)
    assert "path" == result.report["how"]
    assert "acceptable quality" in result.report["reason"]


async def test_a_limit_below_the_answer_itself_still_loses_nothing(video: Path, tmp_path: Path) -> None:
    result = await delivered(video, tmp_path, limit_bytes=10)

    assert (None, video, "path") == (result.data, result.path, result.report["how"])


async def test_a_picture_that_is_too_large_has_its_path(tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(os.urandom(50_000))
    result = await delivered(picture, tmp_path, mime="image/png", limit_bytes=20_000)

    assert (None, "path") == (result.data, result.report["how"])
    assert "image/png is not re-encoded" in result.report["reason"]


async def test_without_base64_nothing_leaves_the_machine(video: Path, tmp_path: Path) -> None:
    async with sink() as server:
        result = await delivered(video, tmp_path, want_data=False, bucket=bucket_at(server.url))

    assert (None, None, "path", []) == (result.data, result.url, result.report["how"], server.received)


async def test_a_jobs_own_bucket_gets_the_video_always(video: Path, tmp_path: Path) -> None:
    async with sink() as server:
        bucket = bucket_at(server.url)
        without = await delivered(video, tmp_path, want_data=False, bucket=bucket, always_upload=True)
        both = await delivered(video, tmp_path, bucket=bucket, always_upload=True)

    assert (None, "bucket") == (without.data, without.report["how"])
    assert without.url is not None
    assert both.url is not None
    assert both.data is not None
    assert 2 == len(server.received)


async def test_an_upload_that_failed_is_told_even_where_the_data_fits(video: Path, tmp_path: Path) -> None:
    async with sink([403]) as server:
        result = await delivered(video, tmp_path, bucket=bucket_at(server.url), always_upload=True)

    assert "base64" == result.report["how"]
    assert "HTTP 403" in result.report["reason"]


def bucket_at(url: str) -> Bucket:
    return Bucket.from_parts(endpoint_url=url, access_key_id="id", secret_access_key="hush-hush", name="b")


@pytest.mark.parametrize(
    "bucket",
    [NoBucket("It is misspelt."), replace(BUCKET, endpoint_url="http://[broken")],
    ids=["misspelt", "unforeseen"],
)
async def test_whatever_a_bucket_does_the_video_is_delivered_and_the_trouble_told(
    video: Path, tmp_path: Path, bucket: Bucket | NoBucket
) -> None:
    result = await delivered(video, tmp_path, bucket=bucket, always_upload=True)

    assert result.report["how"] == "base64"
    assert result.report["reason"] in {"It is misspelt.", "The upload to the bucket 'b' failed: ValueError."}
