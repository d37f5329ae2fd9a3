"""Several outputs within one answer's limit: data while it fits, in the graph's order; what is gone is said so."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from door import ask
from fakes.graphs import several
from wanworker.actions.comfyui._answer import documented_timeout
from wanworker.errors import EngineFailed, EngineTimeout, GraphTimeout

SIZES = [100, 40_000, 300, 5_000_000]


@pytest.fixture
async def finished(comfyui_worker):
    """A finished job's answer, and how to ask again: its files are no media any more, and as large as SIZES."""
    worker = comfyui_worker()
    job = {"input": {"workflow": several(), "request_id": "many"}}
    answer, _ = await ask(worker, job)
    for output, size in zip(answer["outputs"], SIZES, strict=True):
        Path(output["path"]).write_bytes(bytes(size))

    async def again(limit=20_000_000):
        asked = {"input": {**job["input"], "return_base64": True}}
        return (await ask(worker, asked, limit=limit))[0]

    return answer, again


async def test_every_byte_is_there_when_all_fit(finished):
    _, again = finished
    answer = await again()

    assert [len(base64.b64decode(output["data"])) for output in answer["outputs"]] == SIZES
    assert all("path" not in output for output in answer["outputs"])


@pytest.mark.parametrize("limit", [100_000, 1_000_000, 6_000_000, 8_000_000])
async def test_what_does_not_fit_has_its_path_and_the_rest_its_data(finished, limit):
    _, again = finished
    answer = await again(limit)

    assert len(json.dumps(answer)) <= limit
    for output in answer["outputs"]:
        assert ("data" in output) != ("path" in output)
        assert output["delivery"]["how"] == ("base64" if "data" in output else "path")
    assert "data" in answer["outputs"][0]
    assert "data" in answer["outputs"][2]
    assert ("data" in answer["outputs"][3]) == (limit > 6_700_000)


async def test_a_file_that_was_removed_since_is_said_to_be_gone(finished):
    first, again = finished
    Path(first["outputs"][1]["path"]).unlink()
    answer = await again()

    assert answer["outputs"][1]["delivery"]["how"] == "none"
    assert "no longer on the volume" in answer["outputs"][1]["delivery"]["reason"]
    assert answer["outputs"][3]["data"]


def test_a_deadline_carries_the_documented_lower_case_word():
    with pytest.raises(GraphTimeout, match="within 5s") as timeout, documented_timeout():
        raise EngineTimeout("Execution did not complete within 5s", hint="less")

    assert (timeout.value.status, timeout.value.hint, timeout.value.code) == ("timeout", "less", "ENGINE_TIMEOUT")


def test_other_failures_pass_as_they_are():
    with pytest.raises(EngineFailed), documented_timeout():
        raise EngineFailed("x")
