"""The command line's render options, shared by `render` and `submit`, and the request fields that they set."""

# `from __future__ import annotations` is missing on purpose: typer would look up the annotations of VideoOptions in the
# modules of its subclasses, where the names used here are unknown.

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import typer

from wanworker.cli._base import misused
from wanworker.client.request import FIELDS, FILES, VideoFields
from wanworker.errors import InvalidRequest
from wanworker.ranges import RANGES
from wanworker.spec import TASKS, Profile, Size
from wanworker.text.mixups import kind_of_source

Task = Literal["t2v-A14B", "i2v-A14B", "ti2v-5B", "s2v-14B", "animate-14B", "vace-A14B", "v2v-A14B", "animate2-14B"]

#: The names that the request knows (actions/request/shape.py); the worker checks them.
RESOLUTIONS = ("480p", "720p", "1080p")

ENGINES = ("auto", "diffusers", "comfyui", "wan_cli", "mini", "runpod")

#: What the client calls an option of another name. Every other name in its table is the option's own.
_OPTIONS = {
    "negative_prompt": "negative",
    "timeout_s": "timeout",
    "loras": "lora",
    "high_noise_loras": "high_noise_lora",
    "low_noise_loras": "low_noise_lora",
    "output_upload_urls": "output_upload_url",
}

#: What the client calls the options that name LoRAs.
_LORAS = ("loras", "high_noise_loras", "low_noise_loras")


@dataclass(frozen=True, slots=True)
class Source:
    """
    Hold a file that the user named: a URL, or a resolved path on this machine.

    `name` is the option's, and `field` the field of generate that it sets with `_url`, `_path` or `_base64` added.
    """

    name: str
    field: str
    url: str = ""
    path: Path = Path()


def _size(text: str) -> str:
    try:
        return str(Size.parse(text))
    except InvalidRequest as error:
        raise typer.BadParameter(str(error)) from error


def _option(name: str, metavar: str, meaning: str, **more: Any) -> Any:
    return typer.Option(f"--{name}", metavar=metavar, help=meaning, rich_help_panel="What to render", **more)


def _number(name: str, meaning: str, row: str = "") -> Any:
    limits = RANGES[row or name.replace("-", "_")]
    return _option(name, "N", meaning, min=limits.low, max=limits.high)


#: The prompt, which `render` needs and `submit` may leave out.
PROMPT = typer.Argument(
    metavar="PROMPT",
    help="What the video shows. Put it in quotes, or give - to read it from stdin.",
    show_default=False,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoOptions:
    """Hold everything that describes a video besides the prompt. An option that was not given is None."""

    task: Annotated[
        Task | None,
        _option(
            "task",
            "TASK",
            f"The kind of video: {', '.join(TASKS)}. By default, the files that you give decide. Without files it is "
            "t2v-A14B.",
        ),
    ] = None
    size: Annotated[
        str | None,
        _option("size", "WxH", "The size in pixels, such as 832x480. By default, the task decides.", parser=_size),
    ] = None
    frames: Annotated[
        int | None,
        _number("frames", "The number of frames. Wan renders 1, 5, 9 and so on (4n+1): the nearest of them is used."),
    ] = None
    seconds: Annotated[
        float | None, _number("seconds", "The length in seconds, instead of --frames: the nearest 4n+1 frames.")
    ] = None
    resolution: Annotated[
        str | None,
        _option(
            "resolution",
            "NAME",
            "The area, instead of --size: 480p, 720p or 1080p.",
            autocompletion=lambda: [*RESOLUTIONS],
        ),
    ] = None
    aspect_ratio: Annotated[
        str | None,
        _option("aspect-ratio", "W:H", "The shape: 16:9, 9:16, 1:1 and so on. With auto, the picture decides."),
    ] = None
    num_outputs: Annotated[
        int | None,
        _number("num-outputs", "How many videos to make, each with the next seed. With -o they get numbers."),
    ] = None
    crf: Annotated[int | None, _number("crf", "The quality of the mp4: 0 is lossless, 51 the smallest file.")] = None
    fps: Annotated[float | None, _number("fps", "The frames per second.")] = None
    steps: Annotated[int | None, _number("steps", "The number of denoising steps.")] = None
    guidance: Annotated[
        float | None,
        _number("guidance", "How closely the video follows the prompt: the scale of classifier-free guidance."),
    ] = None
    shift: Annotated[float | None, _number("shift", "The flow shift of the sampler.")] = None
    seed: Annotated[
        int | None, _number("seed", "The seed of the random numbers. The default, -1, picks one and prints it.")
    ] = None
    timeout: Annotated[float | None, _number("timeout", "The job's time limit in seconds.", "timeout_s")] = None
    solver: Annotated[Literal["unipc", "dpm++"] | None, _option("solver", "NAME", "The sampler: unipc or dpm++.")] = (
        None
    )
    negative: Annotated[str | None, _option("negative", "TEXT", "What the video must not show.")] = None
    lora: Annotated[
        list[str] | None,
        _option(
            "lora",
            "[NAME[:SCALE]]",
            "A LoRA to use, with its strength. Give it again for more. Without a name, it is the model's own pair "
            "for 4 steps.",
        ),
    ] = None
    high_noise_lora: Annotated[
        list[str] | None,
        _option("high-noise-lora", "NAME", "A LoRA for the high-noise expert alone, also as NAME:SCALE."),
    ] = None
    low_noise_lora: Annotated[
        list[str] | None,
        _option("low-noise-lora", "NAME", "A LoRA for the low-noise expert alone, also as NAME:SCALE."),
    ] = None
    image: Annotated[str | None, _option("image", "FILE|URL", "The picture that the video starts with.")] = None
    last_image: Annotated[str | None, _option("last-image", "FILE|URL", "The picture that the video ends with.")] = None
    audio: Annotated[str | None, _option("audio", "FILE|URL", "The voice or the song, for s2v-14B.")] = None
    video: Annotated[
        str | None,
        _option(
            "video",
            "FILE|URL",
            "The video to follow (animate-14B, animate2-14B, vace-A14B) or to start from (v2v-A14B).",
        ),
    ] = None
    denoise: Annotated[
        float | None, _number("denoise", "How much of the video is rendered anew, for v2v-A14B: 1 is all of it.")
    ] = None
    loop: Annotated[
        bool | None, typer.Option("--loop", help="End with the first frame.", rich_help_panel="What to render")
    ] = None
    target_fps: Annotated[
        float | None, _number("target-fps", "The frames per second of the file. Frames are added between.", "fps")
    ] = None
    upscale: Annotated[str | None, _option("upscale", "2|4|MODEL", "Enlarge the video after it is rendered.")] = None
    soundtrack: Annotated[str | None, _option("soundtrack", "FILE|URL", "A sound to join to the video.")] = None
    thumbnail: Annotated[
        bool | None,
        typer.Option(
            "--thumbnail",
            help="Save the first frame too, as a JPEG beside the video.",
            rich_help_panel="What to render",
        ),
    ] = None
    output_upload_url: Annotated[
        list[str] | None,
        _option(
            "output-upload-url",
            "URL",
            "A presigned URL at which the worker puts the video. With --num-outputs, give one for each video.",
        ),
    ] = None
    engine: Annotated[
        str | None,
        _option(
            "engine",
            "NAME",
            "The engine: auto, diffusers, comfyui, wan_cli, mini or runpod.",
            autocompletion=lambda: [*ENGINES],
        ),
    ] = None
    profile: Annotated[
        Profile | None, _option("profile", "NAME", "What may be traded for time: exact (nothing) or fast.")
    ] = None
    diffusion_model: Annotated[
        str | None,
        _option("diffusion-model", "NAME", "The model by file or folder name; an expert's sibling is inferred."),
    ] = None
    vae_model: Annotated[str | None, _option("vae-model", "NAME", "The VAE by its file name.")] = None


def with_bare_lora(argv: Iterable[str]) -> list[str]:
    """
    Return *argv* with each `--lora` without a name as `--lora=`, because typer gives every option but a flag a value.
    """
    words = [*argv]
    options = words[: words.index("--")] if "--" in words else words
    for place, word in enumerate(options):
        if word == "--lora" and (place + 1 == len(options) or options[place + 1].startswith("-")):
            words[place] = "--lora="
    return words


def client_fields(args: VideoOptions) -> VideoFields:
    """Return what *args* set, as the client takes it. Files are checked. Raises CommandFailed."""
    given = {name: getattr(args, _OPTIONS.get(name, name), None) for name in FIELDS}
    fields: dict[str, Any] = {name: value for name, value in given.items() if value is not None and value != []}
    if fields.get("loras") == [""]:
        del fields["loras"]
        fields["lora"] = True
    fields |= {name: [_lora(name, text) for text in fields[name]] for name in _LORAS if name in fields}
    fields |= {file.name: file.url or file.path for file in files_of(args)}
    return cast("VideoFields", fields)


def _lora(name: str, text: str) -> dict[str, Any]:
    """Return the file and the scale that *text* names. What follows a colon and is no number belongs to the name."""
    file, _, tail = text.rpartition(":")
    try:
        scale = float(tail)
    except ValueError:
        file, scale = text, None
    if not file.strip() or (scale is not None and not math.isfinite(scale)):
        raise misused(f"{option_of(name)} {text!r} is not a LoRA.", hint="Give the name of a file, or NAME:SCALE.")
    return {"path": file} if scale is None else {"path": file, "scale": scale}


def option_of(name: str) -> str:
    """Return the option that sets the client's field *name*, as it is typed."""
    return f"--{_OPTIONS.get(name, name).replace('_', '-')}"


def files_of(args: VideoOptions) -> list[Source]:
    """Return the files that *args* name. Raises CommandFailed if one does not exist."""
    return [_source(name, getattr(args, name)) for name in FILES if getattr(args, name)]


def _source(name: str, value: str) -> Source:
    if value[:8].lower().startswith(("http://", "https://", "data:")):
        return Source(name, FILES[name], url=value)
    path = Path(value).expanduser()
    if not path.is_file():
        is_url = kind_of_source(value) == "url"
        text = f"{option_of(name)} {value}: {'only http(s) URLs are fetched' if is_url else 'there is no such file'}."
        raise misused(text, hint="Give the path of a file, or an http(s) URL.")
    return Source(name, FILES[name], path=path.resolve())
