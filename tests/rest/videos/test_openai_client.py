"""The `openai` package as people use it, against a server process that renders with the miniature."""

from __future__ import annotations

import io
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest
from PIL import Image

from fakes.rest_server import serving

KEY = "open sesame"
RENDER_S = 90
SMALL: dict[str, Any] = {"num_frames": 5, "fps": 8, "num_inference_steps": 1, "seed": 7}

#: OpenAI has ended its own service, and its package says so at every call.
pytestmark = pytest.mark.filterwarnings("ignore:The Sora API is scheduled:DeprecationWarning")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    with serving(folder, {"WAN_CKPT_DIR": str(folder / "models"), "WAN_API_KEY": KEY}) as running:
        yield running


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key=KEY, base_url=f"{address}/v1", max_retries=0) as made:
        yield made


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (96, 64), (200, 60, 20)).save(buffer, "PNG")
    return buffer.getvalue()


def ended(client: openai.OpenAI, video_id: str) -> Any:
    end = time.monotonic() + RENDER_S
    while (video := client.videos.retrieve(video_id)).status in {"queued", "in_progress"}:
        assert time.monotonic() < end
        time.sleep(0.1)
    return video


def test_a_video_is_created_polled_listed_downloaded_and_deleted(client: openai.OpenAI, address: str) -> None:
    made = client.videos.create(prompt="a red star", model="wan2.2", size="128x64", extra_body=SMALL)  # type: ignore[arg-type]
    done = ended(client, made.id)
    pages = [video.id for video in client.videos.list(limit=1)]
    film = client.videos.download_content(made.id)
    again = client.videos.download_content(made.id).read()
    frame = client.videos.download_content(made.id, variant="thumbnail").read()
    asked = urllib.request.Request(f"{address}/v1/videos/{made.id}/content")
    asked.add_header("Authorization", f"Bearer {KEY}")
    asked.add_header("Range", "bytes=4-7")
    with urllib.request.urlopen(asked, timeout=30) as part:
        ranged = part.status, part.read()
    deleted = client.videos.delete(made.id)

    assert (made.object, made.status, made.model, made.size) == ("video", "queued", "t2v-A14B", "128x64")
    assert (made.seconds, made.progress, made.prompt, made._request_id) == ("0.62", 0, "a red star", made.id)
    assert (done.status, done.progress, done.error, done.model) == ("completed", 100, None, "mini-wan")
    assert (done.size, done.seconds) == ("128x64", "0.62")
    assert done.created_at <= done.completed_at < done.expires_at
    assert (7, made.id) == (done.seed, pages[0])
    assert film.read()[4:8] == b"ftyp"
    assert again == film.read()
    assert frame[:3] == b"\xff\xd8\xff"
    assert ranged == (206, b"ftyp")
    assert (deleted.id, deleted.deleted, deleted.object) == (made.id, True, "video.deleted")
    with pytest.raises(openai.NotFoundError) as gone:
        client.videos.retrieve(made.id)
    assert (gone.value.code, gone.value.type) == ("UNKNOWN_JOB", "not_found_error")


def test_create_and_poll_with_a_picture_in_a_form(client: openai.OpenAI) -> None:
    done = client.videos.create_and_poll(
        prompt="a red star", input_reference=("a.png", png(), "image/png"), extra_body=SMALL, poll_interval_ms=100
    )

    assert (done.status, done.model) == ("completed", "mini-wan")
    assert done.size != "1280x720"  # the picture's shape


def test_a_video_that_is_not_there_yet_is_not_asked_for_again(address: str) -> None:
    seen: list[int] = []
    with httpx2.Client(event_hooks={"response": [lambda answer: seen.append(answer.status_code)]}) as http:
        asks = openai.OpenAI(api_key=KEY, base_url=f"{address}/v1", http_client=http)
        made = asks.videos.create(prompt="a red star", extra_body={**SMALL, "num_frames": 81})
        with pytest.raises(openai.ConflictError) as early:
            asks.videos.download_content(made.id)
        asks.videos.delete(made.id)

    assert "NOT_READY" == early.value.code
    assert [200, 409, 200] == seen


def test_the_list_has_pages_in_both_orders(client: openai.OpenAI) -> None:
    made = [client.videos.create(prompt=f"star {number}", extra_body=SMALL).id for number in range(3)]
    for video_id in made:
        ended(client, video_id)

    newest = [video.id for video in client.videos.list(limit=2)]
    oldest = [video.id for video in client.videos.list(limit=2, order="asc")]
    after = [video.id for video in client.videos.list(after=made[1], limit=1)]

    assert newest[:3] == made[::-1]
    assert oldest == newest[::-1]
    assert after == newest[2:]


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"model": "sora-2"}, "model", "known: wan2.2, t2v-A14B, i2v-A14B, ti2v-5B, s2v-14B, animate-14B"),
        ({"model": "s2v-14B"}, "audio", "needs a sound"),
        ({"model": "i2v-A14B"}, "input_reference", "needs a picture in input_reference"),
        ({"seconds": "many"}, "seconds", "must be a number"),
        ({"size": "big"}, "size", "size must look like"),
        ({"seconds": "4", "extra_body": {"num_frames": 9}}, "num_frames", "disagree"),
        (
            {"extra_body": {"input_reference": {"file_id": "file-1"}}},
            "input_reference",
            "must have image_url",
        ),
        (
            {"extra_body": {"input_reference": {"image_url": "http://10.0.0.1/\\"}}},
            "input_reference",
            "control characters",
        ),
        ({"input_reference": ("a.png", b"no picture")}, "input_reference", "not a picture"),
        ({"extra_body": {"lora": {"path": "https://a.example/b.safetensors"}}}, "lora", "not by a URL"),
    ],
)
def test_what_is_wrong_is_said_in_the_clients_own_errors(
    client: openai.OpenAI, fields: dict[str, Any], param: str | None, words: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.videos.create(prompt="a cat", **fields)

    assert (refused.value.param, refused.value.type) == (param, "invalid_request_error")
    assert words in str(refused.value)


def test_other_failures_are_the_clients_own_too(client: openai.OpenAI, address: str) -> None:
    with (
        openai.OpenAI(api_key="wrong", base_url=f"{address}/v1", max_retries=0) as strangers,
        pytest.raises(openai.AuthenticationError) as stranger,
    ):
        strangers.videos.list()
    with pytest.raises(openai.BadRequestError):
        client.videos.list(limit=101)
    with pytest.raises(openai.BadRequestError):
        client.videos.download_content("x", variant="spritesheet")
    with pytest.raises(openai.NotFoundError):
        client.videos.list(after="nobody")

    assert (stranger.value.code, stranger.value.type) == ("UNAUTHORIZED", "authentication_error")
