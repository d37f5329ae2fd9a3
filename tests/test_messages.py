"""Every message that a wrong request can get is plain English with a documented code (print_messages.py shows all)."""

from __future__ import annotations

import asyncio
import re

import pytest

from messages import Said, everything, settings_below
from pages import ROOT

#: Words of Python and of pydantic; a caller knows neither.
_FOREIGN = re.compile(
    r"\b(dict|str|int|float|bool|tuple|NoneType|None|True|False|pydantic|Traceback|[A-Za-z]*Validat\w+|RecursionError)\b"
    r"|Input should|validation error|valid dictionary|loc=|type=|<class"
)


@pytest.fixture(scope="module")
def messages(tmp_path_factory: pytest.TempPathFactory) -> list[Said]:
    return asyncio.run(everything(settings_below(tmp_path_factory.mktemp("messages"))))


def test_no_message_speaks_python(messages: list[Said]) -> None:
    assert len(messages) > 1000
    assert [] == [said for said in messages if _FOREIGN.search(f"{said.text} {said.hint}")]


def test_no_wrong_request_is_an_internal_error(messages: list[Said]) -> None:
    assert [] == [said for said in messages if said.code == "INTERNAL"]


def test_every_code_is_documented(messages: list[Said]) -> None:
    documented = set(re.findall(r"`([A-Z_]+)`", (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")))

    assert set() == {said.code for said in messages} - documented


def test_every_message_is_short_and_printable_and_says_what_to_do(messages: list[Said]) -> None:
    assert [] == [said for said in messages if not said.text.isprintable() or len(said.text) > 400 or not said.hint]


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        ("generate: last_image_path = a URL", "a URL was given where a path is expected."),
        ("comfyui_i2v: reference_image_url = base64", "base64 text was given where a URL is expected."),
        ("comfyui_i2v: reference_image_base64 = a path", "a path was given where base64 text is expected."),
        ("comfyui_i2v: reference_image_base64 = HEIC", "it looks like a HEIC picture, a kind that cannot be read."),
        ("REST /generate: image_url = base64", "base64 text was given where a URL is expected."),
        ("comfyui_i2v: prompt = an object", "prompt must be text; got an object."),
        ("REST /generate with no fields", "prompt is missing."),
        ("REST a broken form", "The form cannot be read"),
        ("REST /generate with deep JSON", "The body is nested too deeply"),
        ("REST /generate with a long number", "cannot be read as JSON: a number has more than 4,300 digits."),
        ("comfyui_workflow: workflow = NUL", "workflow has a NUL character (U+0000) at position 2"),
        ("REST /generate: prompt = half a character", "prompt has half a character (the lone surrogate U+D83D)"),
    ],
)
def test_what_was_given_and_expected_is_said(messages: list[Said], request_: str, text: str) -> None:
    assert text in next(said.text for said in messages if said.request == request_)
