"""Text from outside, made harmless."""

from __future__ import annotations

import pytest

from wanworker.text.printable import listed, on_its_lines, one_line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain text, 100 %", "plain text, 100 %"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x00\x7f\x9b", r"\x00\x7f\x9b"),
        ("ä\u2028\u202e", r"\xe4\u2028\u202e"),
        ("\U0001f600 \ud800", r"\U0001f600 \ud800"),
    ],
)
def test_what_is_no_printable_ascii_is_written_as_an_escape(text, expected):
    assert expected == one_line(text)


def test_for_people_lines_and_letters_stay_and_nothing_controls_the_terminal():
    text = "Zürich \x1b[31mred\x9d0;title\x07 and\na line\u202e\ud800"
    assert "Zürich \\x1b[31mred\\x9d0;title\\x07 and\na line\\u202e\\ud800" == on_its_lines(text)


def test_of_many_names_the_first_are_listed_and_the_others_counted():
    assert "a, b" == listed(["a", "b"])
    assert listed(str(number) for number in range(100)).endswith("28, 29 and 70 more")
    assert f"{'x' * 60}..." == listed(["x" * 1000])
