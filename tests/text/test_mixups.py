"""What a URL, base64 text and a path look like to a reader."""

from __future__ import annotations

import time

import pytest

from wanworker.text.mixups import kind_of_source, mixed_up

FOLDER = f"/workspace/{'a-long_folder/' * 12}"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("https://host/a.png", "url"),
        (" HTTP://host", "url"),
        ("ftp://host/a", "url"),
        ("file:///etc/passwd", "url"),
        ("iVBORw0KGgo" * 30, "base64"),
        ("/9j/4AAQSkZJRg" * 30 + "==", "base64"),
        ("iVBORw0KGgo\n" * 30, "base64"),
        ("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkAAIAAAoAAv/lxKUAAAAASUVORK5CYII=", "base64"),
        ("blob:https://host/7f", "url"),
        (f"{FOLDER}cat.png", "path"),
        (f"{FOLDER}cat", "path"),
        ("cats/cat.png", "path"),
        ("./cat", "path"),
        ("C:\\cats\\cat.png", "path"),
        ("cat", None),
        ("iVBORw0KGgo=", None),
        ("", None),
    ],
)
def test_kinds_are_told_apart(text, kind):
    assert kind == kind_of_source(text)


def test_what_may_be_right_is_not_called_wrong():
    assert mixed_up("cat", "url") is mixed_up("cat", "path") is mixed_up("cat", "base64") is None
    assert mixed_up(f"{FOLDER}cat.png", "path") is None


@pytest.mark.parametrize(
    "text", [f"{' ' * 1_999}!", f"{' ' * 100_000}!", f"iVBORw0K{' ' * 1_900}!", f"{' ' * 900}a{' ' * 90}!"]
)
def test_blanks_cost_no_time(text):
    started = time.process_time()

    assert kind_of_source(text) in {None, "base64"}

    assert time.process_time() - started < 1
