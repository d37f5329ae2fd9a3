"""Texts that the browser changes before it sends them: comments, and choices in braces."""

from __future__ import annotations

import time

import pytest

from wanworker.comfyui.graph.dynamic_prompt import sent_prompt


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("a /* no */ fox // end\nruns", "a  fox \nruns"),
        ("a /* open // end", "a /* open "),
        ("/*/ a */b", "b"),
        ("/*// a", "/*"),
        ("a /* b", "a /* b"),
        ("*/ a /**/", "*/ a "),
        ("http://x", "http:"),
        ("{a|b} {c|{d|e}} | }", "a c | }"),
        ("\\{a|b\\}", "{a|b}"),
        ("{open|end", "open"),
    ],
)
def test_comments_go_and_the_first_choice_stays(written: str, sent: str) -> None:
    assert sent == sent_prompt(written).text


@pytest.mark.parametrize(
    ("written", "choices"),
    [("{a|a}", None), ("{a|b}", "{a|b}"), ("{a}", None), ("{x|{y|z}}", "{x|{y|z}}"), ("{a|b} {c|d}", "{c|d}")],
)
def test_a_group_that_leaves_a_choice_is_named(written: str, choices: str | None) -> None:
    assert choices == sent_prompt(written).choices


@pytest.mark.parametrize(
    "written",
    ["/* " * 100_000, "//\n" * 100_000, "/*" * 150_000, "{y" * 60_000 + "}" * 60_000, "{a|b" * 75_000, "{a|" * 100_000],
)
def test_a_long_text_takes_time_in_proportion_to_its_length(written: str) -> None:
    started = time.process_time()
    sent_prompt(written)

    assert time.process_time() - started < 5  # It takes a tenth of a second; each open comment once took a scan.
