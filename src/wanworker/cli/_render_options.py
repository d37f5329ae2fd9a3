"""The command line's render options, shared by `render` and `submit`, and the request fields that they set."""

from __future__ import annotations

import argparse
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wanworker.cli._base import misused
from wanworker.errors import InvalidRequest
from wanworker.spec import RANGES, TASKS, Size

#: Arguments that are one field of `generate` each.
_FIELDS = {
    "size": "size",
    "frames": "frame_num",
    "fps": "fps",
    "steps": "sample_steps",
    "guidance": "sample_guide_scale",
    "shift": "sample_shift",
    "solver": "sample_solver",
    "seed": "seed",
    "negative": "negative_prompt",
    "engine": "engine",
    "timeout": "timeout",
}

#: Arguments that name a file or a URL, and the field whose `_url`, `_path` or `_base64` they become.
_FILES = {"image": "reference_image", "last_image": "last_image", "audio": "audio", "video": "driving_video"}

#: RANGES' row of each number that can be typed.
_NUMBERS: dict[str, tuple[str, Callable[[str], float], str]] = {
    "frames": ("frames", int, "frames; the nearest 4n+1 is rendered"),
    "fps": ("fps", float, "frames per second"),
    "steps": ("steps", int, "denoising steps"),
    "guidance": ("guidance", float, "classifier-free guidance scale"),
    "shift": ("shift", float, "the sampler's flow shift"),
    "seed": ("seed", int, "-1, the default, picks a random seed and prints it"),
    "timeout": ("timeout_s", float, "the job's deadline in seconds"),
}


@dataclass(frozen=True, slots=True)
class Source:
    """A file that the user named: a URL, or a path on this machine, resolved."""

    argument: str
    field: str
    url: str = ""
    path: Path = Path()


def add_arguments(parser: ArgumentParser, *, prompt_is_optional: bool = False) -> None:
    """Add PROMPT and everything that describes a video."""
    parser.add_argument(
        "prompt", metavar="PROMPT", nargs="?" if prompt_is_optional else None, help="what the video shows, in quotes"
    )
    what = parser.add_argument_group("what to render")
    what.add_argument("--task", choices=[*TASKS], help="default: what the files given make of it, else t2v-A14B")
    what.add_argument("--size", type=_size, metavar="WxH", help="such as 832x480; default: the task's own")
    for name, (row, kind, meaning) in _NUMBERS.items():
        what.add_argument(f"--{name}", type=_ranged(row, kind), metavar="N", help=meaning)
    what.add_argument("--solver", choices=["unipc", "dpm++"], help="the sampler")
    what.add_argument("--negative", metavar="TEXT", help="what it must not show")
    what.add_argument(
        "--lora", nargs="?", const="", metavar="NAME", help="use this LoRA; without a name the model's own 4-step pair"
    )
    what.add_argument("--image", metavar="FILE|URL", help="the picture to start from")
    what.add_argument("--last-image", metavar="FILE|URL", help="the picture to end with")
    what.add_argument("--audio", metavar="FILE|URL", help="the voice of s2v-14B")
    what.add_argument("--video", metavar="FILE|URL", help="the driving video of animate-14B")
    what.add_argument("--engine", metavar="NAME", help="auto, diffusers, comfyui, wan_cli or mini")


def fields_of(args: Namespace) -> dict[str, Any]:
    """Return the documented fields of `generate` that *args* give, files left out."""
    fields = {field: getattr(args, name) for name, field in _FIELDS.items() if getattr(args, name) is not None}
    if args.prompt is not None:
        fields["prompt"] = args.prompt
    if args.task:
        fields["task"] = args.task
    if args.lora is not None:
        fields["use_lora"] = True
    if args.lora:
        fields["lora_name"] = args.lora
    return fields


def task_of(args: Namespace) -> str:
    """Return the task that was named, else the one that the files given make of it. Pure."""
    if args.task:
        return str(args.task)
    if args.video:
        return "animate-14B"
    if args.audio:
        return "s2v-14B"
    return "i2v-A14B" if args.image else "t2v-A14B"


def files_of(args: Namespace) -> list[Source]:
    """Return the files that *args* name. Raises CommandFailed for one that is not there."""
    return [_source(name, getattr(args, name), field) for name, field in _FILES.items() if getattr(args, name)]


def given(args: Namespace) -> set[str]:
    """Return the names of the arguments that were given, as they are typed."""
    names = [*_FIELDS, *_FILES, "task", "lora"]
    return {f"--{name.replace('_', '-')}" for name in names if getattr(args, name) is not None}


def _source(name: str, value: str, field: str) -> Source:
    argument = f"--{name.replace('_', '-')}"
    if value.startswith(("http://", "https://", "data:")):
        return Source(argument, field, url=value)
    path = Path(value).expanduser()
    if not path.is_file():
        raise misused(f"{argument} {value}: there is no such file.", hint="Name a file, or an http(s) URL.")
    return Source(argument, field, path=path.resolve())


def _size(text: str) -> str:
    try:
        return str(Size.parse(text))
    except InvalidRequest as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _ranged(row: str, kind: Callable[[str], float]) -> Callable[[str], float]:
    limits = RANGES[row]

    def number(text: str) -> float:
        value = kind(text)
        if not limits.low <= value <= limits.high:
            raise argparse.ArgumentTypeError(f"must be between {limits.low} and {limits.high}; got {text}")
        return value

    number.__name__ = "number"  # argparse: "invalid number value: 'x'"
    return number
