"""Every answer is JSON that any reader takes, measured before it goes."""

from __future__ import annotations

import base64
import json
import math
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from runpod.serverless.modules.rp_job import run_job

from wanworker.errors import EngineTimeout, GraphRefused, NoOutput, WorkerError
from wanworker.serverless.answer import Unprinted, answer_limit_bytes, error_answer, fit_to_limit, size_bytes, strict


def as_the_sdk_writes(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (math.nan, None),
        (math.inf, None),
        (-math.inf, None),
        (1.5, 1.5),
        (True, True),
        (2**64 - 1, 2**64 - 1),
        (None, None),
        ("a\ud800b", "a\ufffdb"),
        ("\ud83d\ude00", "\U0001f600"),
        ("caf\u00e9", "caf\u00e9"),
        ((1, {2: math.nan}), [1, {"2": None}]),
        ({"\udfff": 1}, {"\ufffd": 1}),
        (Path("a/b.mp4"), "a/b.mp4"),
    ],
    ids=repr,
)
def test_a_value_becomes_strict_json(given: object, expected: object) -> None:
    made = strict(given)

    assert expected == made
    assert expected == json.loads(as_the_sdk_writes(made))


def test_a_long_base64_text_is_passed_on_without_a_copy() -> None:
    data = base64.b64encode(bytes(10_500_000)).decode()
    answer = {"result": {"data": data}}
    tracemalloc.start()
    try:
        made = strict(answer)
        size = size_bytes(made)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert made["result"]["data"] is data
    assert len(data) + len('{"result": {"data": ""}}') == size
    assert peak_bytes < 100_000


def test_an_unprinted_answer_is_the_same_json_and_a_short_line() -> None:
    answer = {"status": "success", "result": {"data": "A" * 1_000_000, "files": [{"data": "B" * 1_000_000}]}}
    made = Unprinted(answer)

    assert answer == made
    assert as_the_sdk_writes(answer) == as_the_sdk_writes({"output": made})[len('{"output": ') : -1]
    assert "'status': 'success'" in f"{ {'output': made} }"
    assert len(f"{ {'output': made} }") < 1000


@pytest.mark.parametrize(("kind", "is_written"), [(dict, True), (Unprinted, False)])
async def test_the_sdk_writes_no_long_text_out_for_its_debug_log(kind: type[dict[str, Any]], is_written: bool) -> None:
    text = "A" * 5_000_000

    async def answer(job: dict[str, Any]) -> dict[str, Any]:
        return kind(data=text)

    tracemalloc.start()
    try:
        result = await run_job(answer, {"id": "a job"})
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert {"output": {"data": text}} == result
    assert is_written == (peak_bytes > len(text))


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        {"a": [1, 2.5, None, True], "b": {"c": '\u00e9\n\t\x01"\\'}},
        {"log": 'said "no"\\\n' * 20_000},
        {"log": "\u00e9\x01" * 70_000},
        [[], {}, [{}]],
    ],
    ids=lambda value: str(value)[:30],
)
def test_the_size_is_what_the_sdk_writes(value: Any) -> None:
    assert len(as_the_sdk_writes(value)) == size_bytes(value)


@pytest.mark.parametrize(
    ("job_id", "override", "expected"),
    [
        ("sync-1f0a-u1", None, 20_000_000 - 1000),
        ("1f0a-u1", None, 10_000_000 - 1000),
        ("local_test", None, 10_000_000 - 1000),
        ("sync-1f0a-u1", 300_000, 300_000),
    ],
)
def test_the_limit_follows_the_kind_of_job_unless_it_is_set(job_id: str, override: int | None, expected: int) -> None:
    assert expected == answer_limit_bytes(job_id, override)


def test_an_answer_within_the_limit_is_given_back_as_it_is() -> None:
    answer = {"a": "b"}

    assert answer is fit_to_limit(answer, size_bytes(answer))


def test_an_answer_above_the_limit_is_an_error_that_says_both_sizes() -> None:
    with pytest.raises(WorkerError, match=r"13 bytes, and at most 11 ") as caught:
        fit_to_limit({"a": "bcde"}, 11)

    assert "return_video" in caught.value.hint


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (EngineTimeout("Execution did not complete within 5s"), "TIMEOUT", "ENGINE_TIMEOUT"),
        (NoOutput("no file"), "NO_OUTPUT", "NO_OUTPUT"),
        (GraphRefused("node 3: unet_name"), "ERROR", "GRAPH_REFUSED"),
    ],
)
def test_a_failure_is_rendered_from_its_class(error: WorkerError, status: str, code: str) -> None:
    expected = {"request_id": "job-1", "error": str(error), "status": status, "code": code, "hint": error.hint}

    assert expected == error_answer(error, "job-1")


def test_an_unforeseen_failure_tells_nothing_of_itself() -> None:
    answer = error_answer(KeyError("secret-token"), "job-1")

    assert "Internal error; see the worker's log for request job-1." == answer["error"]
    assert ("INTERNAL", "ERROR") == (answer["code"], answer["status"])
    assert "secret-token" not in json.dumps(answer)


@pytest.mark.parametrize("text", ["", "  \n", "\ud800", "x" * 50_000], ids=["empty", "blank", "surrogate", "long"])
def test_the_error_is_always_a_text_that_can_be_posted(text: str) -> None:
    answer = error_answer(WorkerError(text), "job-1")

    assert answer["error"].strip()
    assert len(as_the_sdk_writes(answer)) < 11_000
