"""Presigned URLs of callers: what takes the file, what does not, and what nobody may read."""

import logging
import os
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from fakes.sink import BROKEN, STALLED, sink
from wanworker.errors import InputRefused, InvalidRequest
from wanworker.media.outputs._put import UploadFailed
from wanworker.media.outputs.upload_url import UploadUrl

SECRET = "?X-Amz-Credential=AKIA&X-Amz-Signature=hush-hush-hush"


class Pauses(list[float]):
    """Stand in for asyncio.sleep and remember how long each pause would have been."""

    async def __call__(self, seconds: float) -> None:
        self.append(seconds)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "a.mp4"
    path.write_bytes(os.urandom(300_000))
    return path


def at(url: str, *allowed: str) -> UploadUrl:
    return UploadUrl.for_outputs([f"{url}/a.mp4{SECRET}"], 1, allow_hosts=allowed or ("127.0.0.1",))[0]


async def failure_of(target: UploadUrl, video: Path, **more: float) -> tuple[str, list[float]]:
    pauses = Pauses()
    with pytest.raises(UploadFailed) as caught:
        await target.put(video, mime="video/mp4", sleep=pauses, **more)
    assert "hush" not in f"{caught.value}{target!r}"
    return str(caught.value), pauses


async def test_the_body_is_the_file_with_its_length_and_type(video: Path) -> None:
    async with sink([201]) as server:
        await at(server.url).put(video, mime="video/mp4")

    ((path, headers, size_bytes),) = server.received
    assert (f"/a.mp4{SECRET}", 300_000) == (path, size_bytes)
    assert ("300000", "video/mp4") == (headers["Content-Length"], headers["Content-Type"])
    assert "Transfer-Encoding" not in headers


# aiohttp itself sends once more after a broken connection, so that two of them are one attempt of ours.
@pytest.mark.parametrize(("statuses", "paused"), [([500], [1.0]), ([503, BROKEN, BROKEN, 429], [1.0, 3.0, 9.0])])
async def test_server_errors_429_and_broken_connections_are_tried_again(
    video: Path, statuses: list[int], paused: list[float]
) -> None:
    pauses = Pauses()
    async with sink(statuses) as server:
        await at(server.url).put(video, mime="video/mp4", sleep=pauses)

    assert paused == pauses
    assert 300_000 == server.received[-1][2]


@pytest.mark.parametrize(
    ("statuses", "words", "attempts"),
    [([403], "HTTP 403", 1), ([404], "HTTP 404", 1), ([301], "HTTP 301", 1), ([500] * 9, "HTTP 500", 4)],
)
async def test_a_refusal_is_told_without_the_url(
    video: Path, statuses: list[int], words: str, attempts: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with sink(statuses) as server:
        said, pauses = await failure_of(at(server.url), video)

    assert f"output_upload_urls[0] did not take the file: {words}." == said
    assert (attempts, attempts - 1) == (len(server.received), len(pauses))
    assert "hush" not in "".join(each.getMessage() for each in caplog.records if each.name != "aiohttp.access")


async def test_a_server_that_stalls_is_given_up(video: Path) -> None:
    async with sink([STALLED] * 4) as server:
        said, _ = await failure_of(at(server.url), video, patience_s=-0.4)

    assert "output_upload_urls[0] did not take the file: it did not take the file in time." == said


async def test_a_server_that_is_not_there_is_tried_and_given_up(video: Path) -> None:
    said, pauses = await failure_of(at("http://127.0.0.1:1"), video)

    assert "output_upload_urls[0] did not take the file: no connection." == said
    assert [1.0, 3.0, 9.0] == pauses


async def test_a_redirect_is_followed_with_the_same_checks(video: Path) -> None:
    async with sink([307]) as first, sink() as second:
        first.leads_to = f"{second.url}/elsewhere?signature=hush-hush"
        await at(first.url).put(video, mime="video/mp4")

    assert [("/elsewhere?signature=hush-hush", 300_000)] == [(path, size) for path, _, size in second.received]


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433"])
async def test_a_redirect_to_a_private_address_is_not_followed(video: Path, host: str) -> None:
    async with sink([308]) as first, sink() as second:
        port = urlsplit(second.url).port
        first.leads_to = f"http://{host}:{port}/x"
        said, _ = await failure_of(at(first.url.replace("127.0.0.1", "localhost"), "localhost"), video)

    assert [] == second.received
    assert "output_upload_urls[0] leads to a private address" in said


async def test_redirects_in_a_circle_and_to_another_scheme_end(video: Path) -> None:
    async with sink([307] * 9) as server:
        server.leads_to = f"{server.url}/a.mp4"
        round_about, _ = await failure_of(at(server.url), video)
        server.leads_to = "file:///etc/passwd"
        strange, _ = await failure_of(at(server.url), video)

    assert "redirected more than 3 times" in round_about
    assert "redirected to something that is not an http(s) URL" in strange


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "169.254.169.254", "10.0.0.7", "2130706433", "0x7f.1"])
def test_a_private_address_is_refused_before_the_render(host: str) -> None:
    with pytest.raises(InputRefused, match=r"^output_upload_urls\[0\] leads to a private address\.$") as caught:
        at(f"http://{host}:9000", "minio.lan")
    assert "hush" not in f"{caught.value}{caught.value.hint}"


async def test_a_name_that_leads_to_a_private_address_gets_nothing(video: Path) -> None:
    async with sink() as server:
        said, pauses = await failure_of(at(server.url.replace("127.0.0.1", "localhost"), "minio.lan"), video)

    assert ([], []) == (server.received, pauses)
    assert "output_upload_urls[0] leads to a private address" in said


@pytest.mark.parametrize(
    "url", ["", "hush", "bucket/a?sig=hush", "ftp://example.com/hush", "https://me:hush@example.com/a", "https:///hush",
            "https://example.com/" + "hush" * 3000, "https://exa mple.com/hush", "https://example.com/\x00hush"],
)  # fmt: skip
def test_a_malformed_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(InputRefused, match=r"^output_upload_urls\[1\] is not an http\(s\) URL") as caught:
        UploadUrl.for_outputs(["https://example.com/a", url], 2)
    assert "hush" not in f"{caught.value}{caught.value.hint}{caught.value.__cause__}"


@pytest.mark.parametrize(("count", "outputs"), [(1, 2), (2, 1), (9, 8)])
def test_the_number_of_urls_must_be_that_of_the_outputs(count: int, outputs: int) -> None:
    with pytest.raises(InvalidRequest, match=rf"one URL for each output: {outputs} expected, {count} given"):
        UploadUrl.for_outputs(["https://example.com/a"] * count, outputs)
