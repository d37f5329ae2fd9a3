"""JSON that no engine could take is refused at every door, with the path of the fault."""

from __future__ import annotations

import json
import time

import pytest

from wanworker.actions import ACTIONS
from wanworker.actions.envelope import resolve
from wanworker.actions.request.fields import Request, parse
from wanworker.actions.request.json_value import MAX_DEPTH, MAX_FIELDS, check_json
from wanworker.errors import InvalidRequest

NUL, HALF = "a\x00b", "a\ud83db"


def nested(levels: int, *, kind: str) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value] if kind == "list" else {"a": value}
    return value


@pytest.mark.parametrize("text", [NUL, HALF], ids=["NUL", "half a character"])
@pytest.mark.parametrize(
    ("make", "where", "field"),
    [
        (lambda text: {"prompt": text}, "prompt has", "prompt"),
        (lambda text: {"params": {"prompt": text}}, "params.prompt has", "params"),
        (lambda text: {"loras": [{}, {"high": text}]}, "loras[1].high has", "loras"),
        (lambda text: {"workflow": {"3": {"inputs": {"text": text}}}}, "workflow.3.inputs.text has", "workflow"),
        (lambda text: {"workflow": {"3": {text: 1}}}, "A key in workflow.3 has", "workflow"),
        (lambda text: {text: 1}, "A key in input has", "input"),
        (lambda text: {"action": text}, "action has", "action"),
    ],
)
def test_text_that_nothing_can_read_is_refused_with_its_path(make, text, where, field):
    with pytest.raises(InvalidRequest) as caught:
        resolve(make(text), ACTIONS)

    assert where in str(caught.value)
    assert "at position 2" in str(caught.value)
    assert field == caught.value.field


def test_whole_characters_of_every_plane_are_taken():
    check_json({"prompt": "\U0001f600 \u4e2d\n\t", "\u00e4": ["\u00df", 1.5, None, True]})


@pytest.mark.parametrize("kind", ["list", "object"])
def test_deep_nesting_is_an_error_of_the_request(kind):
    check_json({"workflow": nested(MAX_DEPTH - 1, kind=kind)})
    for levels in (MAX_DEPTH, 100_000):
        with pytest.raises(InvalidRequest, match=r"workflow is nested too deeply: .* at most 100 levels"):
            check_json({"workflow": nested(levels, kind=kind)})


def test_a_request_of_very_many_values_is_refused_before_they_are_looked_at():
    with pytest.raises(InvalidRequest, match="more than 500,000 values"):
        check_json({"workflow": [["x"] * 250_000] * 4})


@pytest.mark.parametrize("make", [lambda keys: keys, lambda keys: {"params": keys}], ids=["flat", "wrapped"])
def test_very_many_fields_are_refused(make):
    many = {f"field{number}": 1 for number in range(MAX_FIELDS + 1)}

    with pytest.raises(InvalidRequest, match="has 1,001 fields; at most 1,000 are read"):
        resolve(make(many), ACTIONS)
    with pytest.raises(InvalidRequest, match="has 1,001 fields"):
        parse(Request, many)


def test_of_many_unknown_fields_the_first_are_named_and_the_others_counted():
    started = time.process_time()

    _, warnings = parse(Request, {f"{number:04d}{'x' * 100_000}": 1 for number in range(200)})

    assert 6 == len(warnings)
    assert "195 more unknown fields were ignored." == warnings[-1]
    assert all(len(line) < 120 for line in warnings)
    assert time.process_time() - started < 3


def test_an_action_that_is_a_deep_list_is_an_error_of_the_request():
    # json.loads takes some 900 levels, and to write them out as text would pass Python's limit.
    with pytest.raises(InvalidRequest):
        resolve({"action": json.loads("[" * 900 + "]" * 900)}, ACTIONS)
