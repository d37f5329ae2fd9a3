"""Frames of a real server, and frames of nobody, become events or nothing."""

from __future__ import annotations

import json
import random

import pytest

from fakes.comfyui_recordings import FOLDER, frames
from wanworker.comfyui.client.events import (
    Cached,
    Event,
    Executed,
    Executing,
    Failed,
    Interrupted,
    NodeStates,
    Preview,
    QueueStatus,
    Started,
    Stepped,
    Succeeded,
    parse_frame,
)


def events(name: str) -> list[Event | None]:
    return [parse_frame(frame) for frame in frames(name)]


def kinds(name: str) -> list[str]:
    return [type(event).__name__ for event in events(name)]


def test_every_recorded_frame_of_the_core_that_concerns_a_prompt_is_an_event() -> None:
    unread = {
        json.loads(frame)["type"]
        for path in FOLDER.glob("ws_*.jsonl")
        for frame in path.read_text().splitlines()
        if parse_frame(frame) is None
    }

    assert {"feature_flags", "my_pack.monitor"} == unread


def test_a_cached_run_is_read_in_order() -> None:
    expected = ["QueueStatus"] * 3 + ["Started", "Cached", "Executed", "NodeStates", "Succeeded", "QueueStatus"]

    assert [*expected, "Executing"] == kinds("cached_same_again")


def test_the_first_status_says_that_nothing_waits() -> None:
    assert QueueStatus(0) == events("webm")[0]


def test_the_end_is_an_executing_without_a_node() -> None:
    last = events("webm")[-1]

    assert isinstance(last, Executing)
    assert (None, True) == (last.node, bool(last.prompt_id))


def test_the_greeting_of_a_reconnected_socket_names_no_prompt() -> None:
    assert Executing("1", None) in events("reconnect_same_id")


def test_a_node_made_at_run_time_names_the_node_that_made_it() -> None:
    states = [event for event in events("expanded_node_ids") if isinstance(event, NodeStates)]
    made = {state.node: state.display_node for event in states for state in event.nodes}

    assert "7" == made["7.0.0.1"]


def test_an_output_of_null_shows_nothing() -> None:
    (executed,) = [event for event in events("executed_output_null") if isinstance(event, Executed)]

    assert {} == executed.output


def test_an_error_names_node_and_exception() -> None:
    (failed,) = [event for event in events("error_oom") if isinstance(event, Failed)]

    assert ("1", "torch.OutOfMemoryError") == (failed.node, failed.exception_type)
    assert failed.message.startswith("Allocation on device 0")


def test_an_interruption_names_the_node() -> None:
    (interrupted,) = [event for event in events("interrupted_after_an_output") if isinstance(event, Interrupted)]

    assert "2" == interrupted.node


def test_steps_carry_value_and_maximum() -> None:
    steps = [event for event in events("ti2v_5b") if isinstance(event, Stepped)]

    assert [(n, 8) for n in range(1, 9)] == [(step.value, step.steps) for step in steps if step.steps == 8]


def test_a_plain_preview_is_an_image() -> None:
    preview = parse_frame((FOLDER / "preview.bin").read_bytes())

    assert isinstance(preview, Preview)
    assert ("image/jpeg", b"\xff\xd8\xff", None) == (preview.mime, preview.image[:3], preview.node)


def test_a_preview_with_metadata_names_node_and_prompt() -> None:
    preview = parse_frame((FOLDER / "preview_with_metadata.bin").read_bytes())

    assert isinstance(preview, Preview)
    assert (b"\xff\xd8\xff", "image/jpeg") == (preview.image[:3], preview.mime)
    assert preview.node
    assert preview.prompt_id


@pytest.mark.parametrize(
    "frame",
    [
        "", "null", "[]", "{}", "NaN", '{"type": "status"}', '{"type": "status", "data": {"status": null}}',
        '{"type": "progress", "data": {"value": NaN, "max": 4, "prompt_id": "p", "node": "1"}}',
        f'{{"type": "progress", "data": {{"value": 1, "max": {"9" * 400}, "prompt_id": "p", "node": "1"}}}}',
        '{"type": "progress", "data": {"value": "x", "max": 4}}', '{"type": ["executing"], "data": {}}',
        '{"type": "execution_cached", "data": {"prompt_id": "p", "nodes": 3}}',
        '{"type": "progress_state", "data": {"prompt_id": "p", "nodes": {"1": null}}}',
        '{"type": "my_pack.monitor", "data": {"cpu": 3}}', "[" * 200_000, '{"type": "executed", "data": {"node": 1}}',
        b"", b"\0\0\0\1", b"\0\0\0\1\0\0\0\1", b"\0\0\0\1\0\0\0\7xxxx", b"\0\0\0\4\xff\xff\xff\xffxx",
        b"\0\0\0\3\0\0\0\1" + b"1hello", b"\0\0\0\4\0\0\0\2[]image", b"\0\0\0\4\0\0\0\2\xff\xffimage",
    ],
)  # fmt: skip
def test_garbage_is_nothing(frame: str | bytes) -> None:
    assert parse_frame(frame) is None


def test_a_broken_frame_never_raises() -> None:
    chance = random.Random(5)
    whole = [*frames("error_oom"), *frames("cached_same_again")]
    binary = (FOLDER / "preview_with_metadata.bin").read_bytes()[:400]

    for _ in range(2000):
        text = list(chance.choice(whole))
        text[chance.randrange(len(text))] = chance.choice('{}[]",:0aN')
        parse_frame("".join(text)[: chance.randrange(len(text) + 1)])
        parse_frame(bytes(chance.choice([byte, chance.randrange(256)]) for byte in binary[: chance.randrange(400)]))


@pytest.mark.parametrize("kind", [Started, Cached, Succeeded])
def test_the_prompt_is_named(kind: type[Started | Cached | Succeeded]) -> None:
    (event,) = [event for event in events("webm") if isinstance(event, kind)]

    assert 36 == len(event.prompt_id)
