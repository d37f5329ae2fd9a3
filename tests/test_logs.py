from __future__ import annotations

import asyncio
import io
import logging
import sys
import time
from collections.abc import Iterator

import pytest

from wanworker import logs


@pytest.fixture
def stderr(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Set logging up on a stream of our own, and put everything back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    logs.set_up()
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)


def test_base64_is_shortened_to_its_length() -> None:
    text = logs.tidy(f"data:video/mp4;base64,{'A' * 5000} and on")

    assert "data:video/mp4;base64,<5000 characters> and on" == text


def test_short_words_and_paths_stay() -> None:
    text = "/workspace/models/Wan2.2-T2V-A14B/high_noise_model is 28.6 GB"

    assert text == logs.tidy(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GET https://host/a.png?X-Amz-Signature=abc&b=1 failed", "GET https://host/a.png?... failed"),
        ("'http://host:8080/x?token=secret'", "'http://host:8080/x?...'"),
        ("https://user:secret@host/a.png", "https://***@host/a.png"),
        ("mail me@host about http://host/@me", "mail me@host about http://host/@me"),
        ("https://host/a.png is fine", "https://host/a.png is fine"),
        ("is it? yes", "is it? yes"),
    ],
)
def test_the_query_and_the_login_of_a_url_are_dropped(text: str, expected: str) -> None:
    assert expected == logs.tidy(text)


def test_every_line_has_the_request_id(stderr: io.StringIO) -> None:
    named = logs.request_id.set("job-1")
    logging.getLogger("wanworker.render").info("frames %d", 17)
    logs.request_id.reset(named)

    assert stderr.getvalue().endswith(" INFO job-1 wanworker.render: frames 17\n")


def test_outside_a_job_the_id_is_a_dash(stderr: io.StringIO) -> None:
    logging.getLogger("wanworker").warning("ready")

    assert " WARNING - wanworker: ready" in stderr.getvalue()


async def test_two_jobs_at_once_keep_their_ids_apart(stderr: io.StringIO) -> None:
    async def work(name: str) -> None:
        logs.request_id.set(name)
        await asyncio.sleep(0)
        logging.getLogger("wanworker").info("I am %s", name)

    await asyncio.gather(work("one"), work("two"))

    assert ["one wanworker: I am one", "two wanworker: I am two"] == sorted(
        line.split(" INFO ")[1] for line in stderr.getvalue().splitlines()
    )


def test_a_traceback_is_tidied_too(stderr: io.StringIO) -> None:
    error = ValueError("https://bucket/key?X-Amz-Signature=abc")

    logging.getLogger("wanworker").error("failed", exc_info=error)

    assert "ValueError: https://bucket/key?..." in stderr.getvalue()
    assert "abc" not in stderr.getvalue()


def test_setting_up_replaces_what_the_sdk_installed(stderr: io.StringIO) -> None:
    before = logging.StreamHandler(stderr)
    logging.getLogger().addHandler(before)

    logs.set_up()

    assert before not in logging.getLogger().handlers
    assert 1 == len(logging.getLogger().handlers)


def test_libraries_that_talk_too_much_are_kept_to_warnings(stderr: io.StringIO) -> None:
    logging.getLogger("botocore.auth").info("CanonicalRequest: ...")

    assert "" == stderr.getvalue()


def test_text_from_outside_begins_no_line_and_brings_no_codes(stderr: io.StringIO) -> None:
    named = logs.request_id.set("id\nforged")
    logging.getLogger("wanworker").info("with fields %s", "a\n2026-01-01 INFO - forged\r\x1b[31mred \u2028 \u00e9")
    logs.request_id.reset(named)

    [line] = stderr.getvalue().splitlines()
    assert line.isascii()
    assert line.isprintable()
    assert line.endswith(r"INFO id\nforged wanworker: with fields a\n2026-01-01 INFO - forged\r\x1b[31mred \u2028 \xe9")


def test_the_lines_of_a_traceback_are_indented_whatever_its_error_says(stderr: io.StringIO) -> None:
    logging.getLogger("wanworker").error("failed", exc_info=ValueError("\n2026-01-01 INFO - forged\r\x1b[2J"))

    first, *others = stderr.getvalue().split("\n")[:-1]
    assert first.endswith("wanworker: failed")
    assert all(line.startswith("    ") and line.isprintable() for line in others)


def test_secrets_are_blotted_out(stderr: io.StringIO) -> None:
    logging.getLogger("wanworker").warning("%s", "Authorization: Bearer hf_S3cr3tS3cr3tS3cr3t and sig=S3cr3tS3cr3t")

    assert "S3cr3t" not in stderr.getvalue()


@pytest.mark.parametrize(
    "text", ["https://" * 20_000, "https://a" * 20_000 + "?", "Authorization: " * 20_000, "key=" * 50_000]
)
def test_no_text_takes_long_to_tidy(text: str) -> None:
    started = time.process_time()

    assert len(logs.tidy(text)) < 30_000
    assert time.process_time() - started < 3
