"""A caller's JSON text with one key twice is refused wherever it comes in: no value is dropped in silence."""

from __future__ import annotations

import json
from typing import Any

import pytest

from wanworker.actions.comfyui._workflow_text import parsed
from wanworker.actions.request.json_value import from_text
from wanworker.comfyui.graph.api_format import read_graph
from wanworker.comfyui.graph.workflow_file import read_workflow_file
from wanworker.errors import WorkerError
from wanworker.text.json_text import RepeatedKey, read_json

TWICE = '{"1": {"class_type": "A", "inputs": {"seed": 1, "seed": 2}}}'
SAID = "cannot be read as JSON: an object in it has the key 'seed' 2 times."


def test_other_json_is_read_as_python_reads_it() -> None:
    text = '[{"a": 1, "b": {"a": [{}, {"a": null}]}}, "a", 1.5, NaN]'

    assert repr(json.loads(text)) == repr(read_json(text))
    with pytest.raises(RepeatedKey, match=r"'a' 3 times"):
        read_json(b'[{"a": 1}, {"b": 1, "a": 1, "a": 1, "a": 1}]')
    with pytest.raises(ValueError, match="Expecting property name"):
        read_json("{]")


@pytest.mark.parametrize(
    "read",
    [
        pytest.param(lambda: from_text(TWICE, "loras"), id="a field of a form"),
        pytest.param(lambda: parsed(TWICE, "workflow"), id="a workflow's text"),
        pytest.param(lambda: read_workflow_file(TWICE.encode()), id="a workflow's file"),
        pytest.param(lambda: read_graph({"workflow": TWICE}), id="a text inside a wrapper"),
    ],
)
def test_a_key_twice_is_refused_with_its_name(read: Any) -> None:
    with pytest.raises(WorkerError) as refused:
        read()

    assert str(refused.value).endswith(SAID)
