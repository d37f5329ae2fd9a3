"""A form that is not whole, or says a thing twice, is refused: no field of it is dropped in silence."""

from __future__ import annotations

from typing import Any

import pytest

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


@pytest.mark.parametrize("route", ["/generate", "/plan", "/v1/videos", "/v2/x/run"])
async def test_a_json_body_with_one_key_twice_is_refused_with_its_name(rest: Any, route: str) -> None:
    body = b'{"prompt": "a cat", "input": {"prompt": "a cat", "seed": 1, "seed": 2}}'
    status, answer = await rest.ask("POST", route, data=body, headers={"Content-Type": "application/json"})
    told = answer["error"] if route != "/v1/videos" else answer["error"]["message"]
    assert status in {400, 422}
    assert told.startswith("The body cannot be read as JSON: an object in it has the key 'seed' 2 times.")


def with_file(name: str, disposition: str, content: bytes = b"", kind: str = "image/png") -> bytes:
    head = f'--edge\r\nContent-Disposition: form-data; name="{name}"; {disposition}\r\nContent-Type: {kind}\r\n\r\n'
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
