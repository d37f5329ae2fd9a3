"""The lines between worker and resident child."""

from __future__ import annotations

import pytest

from wanworker.engines.resident import protocol
from wanworker.engines.resident.protocol import (
    Adapter,
    Command,
    Done,
    Event,
    Failed,
    Load,
    Loading,
    Model,
    Part,
    Ping,
    Pong,
    Ready,
    Render,
    Stage,
    Step,
    Stop,
    Stopped,
)

LOAD_PARTS = Load(Model("a", "cpu", "t2v-A14B", (Part("vae", "/models/vae/a.safetensors"),)))
RENDER = Render(
    job=3,
    prompt='a "quoted"\nprompt \u2014 \U0001f98a',
    width=64,
    height=64,
    frames=17,
    out_width=1280,
    out_height=704,
    out_frames=121,
    fps=23.976,
    seed=2**64 - 1,
    steps=4,
    guidance=4.0,
    guidance_low=3.0,
    shift=5.0,
    out_path="/out/a.mp4",
    adapters=(Adapter("/loras/high.safetensors", "high", 0.5), Adapter("/loras/low.safetensors", "low", 1.0)),
)


@pytest.mark.parametrize("command", [Load(Model("/models/a", "cuda")), LOAD_PARTS, RENDER, Stop(3), Ping()])
def test_a_command_arrives_as_it_was_sent(command: Command) -> None:
    line = protocol.encode(command)

    assert command == protocol.decode_command(line)
    assert [line] == line.splitlines(keepends=True)
    assert line.isascii()


@pytest.mark.parametrize(
    "event",
    [
        Loading(12, 36),
        Ready(),
        Stage(3, "text"),
        Step(3, "sampling", 1, 15),
        Done(3, {"text_s": 0.25}, ("a warning",)),
        Failed(3, "OUT_OF_MEMORY", "no memory", "buy some", usable=False),
        Stopped(3),
        Pong(),
    ],
)
def test_an_event_arrives_as_it_was_sent(event: Event) -> None:
    assert event == protocol.decode_event(protocol.encode(event))


def test_a_lone_surrogate_in_a_prompt_does_not_break_the_line() -> None:
    sent = Render(**{**{name: getattr(RENDER, name) for name in RENDER.__dataclass_fields__}, "prompt": "\ud83d"})

    assert sent == protocol.decode_command(protocol.encode(sent))


@pytest.mark.parametrize(
    "line", [b"Loading weights: 100%", b"17", b'{"type": "stage"}', b'{"type": "load"}', b"\xff", b"[" * 10**5]
)
def test_what_is_no_event_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        protocol.decode_event(line)
