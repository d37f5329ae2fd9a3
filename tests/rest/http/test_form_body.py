"""A form that is not whole, or says a thing twice, is refused: no field of it is dropped in silence."""

from __future__ import annotations

import base64
import io
import random
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

FORM = (
    b'--edge\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na cat\r\n'
    b'--edge\r\nContent-Disposition: form-data; name="seed"\r\n\r\n7\r\n'
    b"--edge--\r\n"
)
KIND = {"Content-Type": "multipart/form-data; boundary=edge"}


async def sent(rest: Any, body: bytes) -> tuple[int, Any]:
    return await rest.ask("POST", "/generate", data=body, headers=KIND)


@pytest.mark.parametrize("ending", [b"", b"an epilogue", b"\r\n"])
async def test_a_whole_form_is_taken_whatever_follows_its_closing_boundary(rest: Any, ending: bytes) -> None:
    status, answer = await sent(rest, FORM + ending)
    assert (status, answer["seed"]) == (200, 7)


CUTS = sorted({*range(1, len(FORM) - len(b"--\r\n"), 7), len(FORM) - len(b"--\r\n"), len(FORM) - len(b"-\r\n")})


@pytest.mark.parametrize("size", CUTS)
async def test_a_form_that_stops_before_its_closing_boundary_is_refused(rest: Any, size: int) -> None:
    status, answer = await sent(rest, FORM[:size])
    assert (status, answer["code"]) == (422, "INVALID_REQUEST"), answer
    assert answer["error"].startswith("The form cannot be read: ")


async def test_a_form_cut_in_its_last_field_says_so(rest: Any) -> None:
    _, answer = await sent(rest, FORM.partition(b"7\r\n--edge--")[0] + b"7")
    assert "it stops before its closing boundary" in answer["error"]


async def test_a_form_with_one_field_twice_is_refused_with_its_name(rest: Any) -> None:
    second = b'--edge\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na dog\r\n'
    status, answer = await sent(rest, second + FORM)
    assert (status, answer["code"]) == (422, "INVALID_REQUEST")
    assert answer["error"] == "The form has the field 'prompt' more than once."


async def test_a_form_with_two_pictures_is_refused_with_the_name(rest: Any) -> None:
    part = b'--edge\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\nx\r\n'
    status, answer = await sent(rest, part * 2 + FORM)
    assert (status, answer["error"]) == (422, "The form has the field 'image' more than once.")


async def test_a_form_shows_a_whole_frame_rate_as_it_was_sent(rest: Any) -> None:
    for text, shown in (("24", 24), ("23.976", 23.976)):
        part = f'--edge\r\nContent-Disposition: form-data; name="fps"\r\n\r\n{text}\r\n'.encode()
        _, answer = await sent(rest, part + FORM)
        assert (answer["fps"], type(answer["fps"])) == (shown, type(shown))


@pytest.mark.parametrize("route", ["/generate", "/plan", "/v1/videos", "/v2/x/run"])
async def test_a_json_body_with_one_key_twice_is_refused_with_its_name(rest: Any, route: str) -> None:
    body = b'{"prompt": "a cat", "input": {"prompt": "a cat", "seed": 1, "seed": 2}}'
    status, answer = await rest.ask("POST", route, data=body, headers={"Content-Type": "application/json"})
    told = answer["error"] if route != "/v1/videos" else answer["error"]["message"]
    assert status in {400, 422}
    assert told.startswith("The body cannot be read as JSON: an object in it has the key 'seed' 2 times.")


def with_file(name: str, disposition: str, content: bytes = b"", more: str = "") -> bytes:
    head = f'--edge\r\nContent-Disposition: form-data; name="{name}"; {disposition}\r\n{more}\r\n'
    return head.encode() + content + b"\r\n" + FORM


@pytest.mark.parametrize(("route", "name"), [("/generate", "image"), ("/v1/videos", "input_reference")])
async def test_an_empty_file_with_a_name_is_refused_and_no_file_is_left_out(rest: Any, route: str, name: str) -> None:
    _, refused = await rest.ask("POST", route, data=with_file(name, 'filename="a.png"'), headers=KIND)
    status, _ = await rest.ask("POST", "/generate", data=with_file("image", 'filename=""'), headers=KIND)
    told = refused if route == "/generate" else {"error": refused["error"]["message"]}
    assert told["error"].startswith(f"{name}: it is an empty file.")
    assert status == 200


async def test_an_urlencoded_form_is_taken(rest: Any) -> None:
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    status, answer = await rest.ask("POST", "/generate", data=b"prompt=a+cat&seed=7", headers=kind)
    assert (status, answer["seed"]) == (200, 7)


def noisy_picture() -> bytes:
    """Return a picture whose base64 has many a `+`, also two in a row."""
    file = io.BytesIO()
    Image.frombytes("RGB", (64, 64), random.Random(1).randbytes(64 * 64 * 3)).save(file, "PNG")
    assert b"++" in base64.b64encode(file.getvalue())
    return file.getvalue()


PICTURE = noisy_picture()
PIXELS = Image.open(io.BytesIO(PICTURE)).tobytes()
AS_BASE64 = "Content-Transfer-Encoding: BASE64\r\n"


async def rendered(rest: Any, body: bytes, kind: dict[str, str]) -> tuple[str, bytes]:
    """Send a job. Return the prompt and the picture that its engine got."""
    got: list[tuple[str, bytes]] = []

    async def paint(spec: Any, path: Path, _report: object) -> None:
        got.append((spec.prompt, Image.open(spec.image).tobytes()))
        path.write_bytes(rest.engine.clip.read_bytes())

    rest.engine.act = paint
    status, answer = await rest.ask("POST", "/generate", data=body, headers=kind)
    assert status == 200, answer
    await rest.until(answer["job_id"])
    return got[0]


@pytest.mark.parametrize("head", [b"", b"data:image/png;base64,"])
async def test_a_plus_of_base64_that_was_not_escaped_is_one(rest: Any, head: bytes) -> None:
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    body = b"prompt=a+cat&image=" + head + base64.b64encode(PICTURE)
    assert await rendered(rest, body, kind) == ("a cat", PIXELS)


async def test_parts_that_are_sent_as_base64_are_decoded_once(rest: Any) -> None:
    picture = with_file("image", 'filename="a.png"', base64.encodebytes(PICTURE), AS_BASE64)
    prompt = with_file("prompt", "a=b", base64.encodebytes("a r\u00e9d cat".encode()), AS_BASE64)
    body = picture.removesuffix(FORM) + prompt.removesuffix(FORM) + b"--edge--\r\n"
    assert await rendered(rest, body, KIND) == ("a r\u00e9d cat", PIXELS)


@pytest.mark.parametrize(
    ("name", "content", "more", "said"),
    [
        ("cfg", b"=31", "Content-Transfer-Encoding: quoted-printable\r\n", "expected base64, 7bit, 8bit, binary"),
        ("cfg", b"!", AS_BASE64, "'cfg' is sent as base64, and the base64 text is broken"),
        ("image", b"!", AS_BASE64, "image: the base64 text is broken"),
    ],
)
async def test_an_encoding_of_a_part_that_cannot_be_read_is_refused(
    rest: Any, name: str, content: bytes, more: str, said: str
) -> None:
    disposition = 'filename="a.png"' if name == "image" else "a=b"
    _, answer = await rest.ask("POST", "/generate", data=with_file(name, disposition, content, more), headers=KIND)
    assert said in answer["error"]
