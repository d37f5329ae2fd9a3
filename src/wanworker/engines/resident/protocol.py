"""
The protocol between the worker and the resident child: one JSON object a line, both ways. Pure.

Commands go down: `load`, then `render` and `stop` as often as wanted, and `ping` at any time; the end of the stream
means exit at once. Events come up: `loading` during a load, `ready` or `failed` after it; `stage` and `step` while a
job runs, and exactly one of `done`, `failed` and `stopped` at its end; `pong` for each ping, from a thread that no job
holds up. Every event of a job carries its number, so that none is taken for another's.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from wanworker.spec import Profile

Device = Literal["cpu", "cuda"]
Expert = Literal["high", "low"]


@dataclasses.dataclass(frozen=True, slots=True)
class Placement:
    """
    Where the parts of a model are while a job runs, and how the VAE decodes.

    `resident` parts stay on the device. `evicted` ones come when they compute and leave when another part needs the
    room. `slot`: one of the two experts is on the device, until the other is wanted. A text encoder on the `cpu`
    computes there. `matmul` is how float8 weights are multiplied: `plain` brings them back to the activations' type.
    """

    device: Device = "cpu"
    profile: Profile = "exact"
    experts: Literal["resident", "slot", "evicted"] = "resident"
    text_encoder: Literal["resident", "evicted", "cpu"] = "resident"
    vae: Literal["resident", "evicted"] = "resident"
    vae_dtype: Literal["float32", "bfloat16"] = "float32"
    decode: Literal["streamed", "tiled"] = "streamed"
    matmul: Literal["plain", "scaled_mm"] = "plain"
    attention: Literal["native"] = "native"

    def rule_of(self, part: str) -> str:
        """Return where the component *part*, by diffusers' name, is."""
        if part.startswith("transformer"):
            return self.experts
        return self.text_encoder if part == "text_encoder" else self.vae

    def to_json(self) -> dict[str, str]:
        """Return its words, as an answer shows them."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """Where one component of a pipeline (`transformer`, `text_encoder`, `tokenizer` and so on) is: a file or folder."""

    component: str
    path: str


@dataclasses.dataclass(frozen=True, slots=True)
class Model:
    """
    Weights, and the device that they compute on.

    `folder` names the model. Without `parts` it is a whole folder in diffusers' layout, which says itself what it is;
    with them it need not be a folder, and `task` says how the parts work together. `stamp` changes when one of the
    files does: weights that were replaced under their names are another model. `placement` is where they go once
    loaded. It is no part of the model: a child that holds these weights takes each job in the job's own placement, and
    moves what has to be moved.
    """

    folder: str
    device: Device
    task: str = ""
    parts: tuple[Part, ...] = ()
    stamp: tuple[tuple[str, int, int, int], ...] = ()
    placement: Placement | None = dataclasses.field(default=None, compare=False)

    @property
    def is_on_gpu(self) -> bool:
        """The weights are on the GPU, or pass through it."""
        return self.device != "cpu"


@dataclasses.dataclass(frozen=True, slots=True)
class Adapter:
    """One LoRA file for one expert; a model without a low-noise expert has only `high`."""

    path: str
    expert: Expert
    strength: float


@dataclasses.dataclass(frozen=True, slots=True)
class Load:
    """Load these weights. Comes first, and again after `ready` on the same device: the weights before go first."""

    model: Model
    type: Literal["load"] = "load"


@dataclasses.dataclass(frozen=True, slots=True)
class Render:
    """
    Render one clip with every number decided.

    `width`, `height` and `frames` are what the model renders; `out_width`, `out_height` and `out_frames` are what the
    file has (pixels, frames): where they differ a small square clip is brought to that, `background_only` without the
    things in it. `fps` is the file's. `guidance` is the
    high-noise expert's, `guidance_low` the other's. `noise` has the share of noise before each step (1 to 0) for a
    solver that follows exactly these; it is empty where the solver makes its own of `shift`. `boundary` is the share of
    noise below which the low-noise expert takes over, None where the model's own holds. Out of memory in `placement`,
    the job goes on in `fallback`. `crf` is the file's quality, None for the writer's own.
    """

    job: int
    prompt: str
    width: int
    height: int
    frames: int
    out_width: int
    out_height: int
    out_frames: int
    fps: float
    seed: int
    steps: int
    guidance: float
    guidance_low: float
    shift: float
    out_path: str
    negative_prompt: str = ""
    solver: str | None = None
    noise: tuple[float, ...] = ()
    boundary: float | None = None
    image: str | None = None
    last_image: str | None = None
    adapters: tuple[Adapter, ...] = ()
    max_text_tokens: int = 512
    background_only: bool = False
    placement: Placement = Placement()
    fallback: Placement | None = None
    crf: int | None = None
    type: Literal["render"] = "render"


@dataclasses.dataclass(frozen=True, slots=True)
class Stop:
    """Stop this job at its next step; a job that has ended already is left alone."""

    job: int
    type: Literal["stop"] = "stop"


@dataclasses.dataclass(frozen=True, slots=True)
class Ping:
    """Say that you live, whatever you do now."""

    type: Literal["ping"] = "ping"


@dataclasses.dataclass(frozen=True, slots=True)
class Pong:
    """The child lives, and its Python runs."""

    type: Literal["pong"] = "pong"


@dataclasses.dataclass(frozen=True, slots=True)
class Loading:
    """So many of the bytes of the weights are in memory."""

    done_bytes: int
    size_bytes: int
    type: Literal["loading"] = "loading"


@dataclasses.dataclass(frozen=True, slots=True)
class Ready:
    """The weights are loaded: every byte of them is in memory."""

    type: Literal["ready"] = "ready"


@dataclasses.dataclass(frozen=True, slots=True)
class Stage:
    """The job has come to this stage: text, sampling, decoding, encoding (and loading, said by the parent)."""

    job: int
    name: str
    type: Literal["stage"] = "stage"


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """A part of the stage is done: `step` of `steps`."""

    job: int
    stage: str
    step: int
    steps: int
    type: Literal["step"] = "step"


@dataclasses.dataclass(frozen=True, slots=True)
class Done:
    """The file is written; `timings` are seconds by stage, `placement` is the one that it was made in."""

    job: int
    timings: dict[str, float]
    warnings: tuple[str, ...] = ()
    placement: Placement | None = None
    type: Literal["done"] = "done"


@dataclasses.dataclass(frozen=True, slots=True)
class Failed:
    """
    The job (0: the load) failed. `code` is that of the error in wanworker.errors that the caller shall see.

    `usable` says whether this child can take another job; it cannot when it failed to give its memory back.
    """

    job: int
    code: str
    message: str
    hint: str | None = None
    usable: bool = True
    type: Literal["failed"] = "failed"


@dataclasses.dataclass(frozen=True, slots=True)
class Stopped:
    """The job was stopped as asked and left no file."""

    job: int
    type: Literal["stopped"] = "stopped"


Command = Load | Render | Stop | Ping
Event = Loading | Ready | Stage | Step | Done | Failed | Stopped | Pong


# Built when first needed: they cost the worker's start 30 ms, and many workers never start a child.
@functools.cache
def _commands() -> TypeAdapter[Command]:
    return TypeAdapter(Annotated[Command, Field(discriminator="type")])


@functools.cache
def _events() -> TypeAdapter[Event]:
    return TypeAdapter(Annotated[Event, Field(discriminator="type")])


def encode(message: Command | Event) -> bytes:
    """Return the message as one line of ASCII JSON with its newline."""
    return json.dumps(dataclasses.asdict(message)).encode("ascii") + b"\n"


def decode_command(line: bytes) -> Command:
    """Read a line from the parent. Raises ValueError when it is no command."""
    return _commands().validate_python(json.loads(line))


def decode_event(line: bytes) -> Event:
    """Read a line from the child. Raises ValueError when it is no event, such as a library's print."""
    try:
        return _events().validate_python(json.loads(line))
    except RecursionError as error:  # thousands of open brackets
        raise ValueError("the line is nested too deeply") from error
