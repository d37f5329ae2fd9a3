from __future__ import annotations

import dataclasses
import typing
from pathlib import Path

import pytest
import typer

from fakes.command_line import parsed
from wanworker.actions.generate.request import GenerateRequest
from wanworker.actions.request.fields import parse
from wanworker.cli import _render_options
from wanworker.cli._base import CommandFailed
from wanworker.cli.commands.remote.submit import SubmitOptions
from wanworker.client.request import FIELDS, FILES, VideoFields, generate_fields, rest_body, runpod_body
from wanworker.settings import EngineName
from wanworker.spec import TASKS, Lora

EVERYTHING = (
    "a star", "--task", "i2v-A14B", "--size", "832x480", "--frames", "17", "--fps", "8", "--steps", "4", "--guidance",
    "3.5", "--shift", "5", "--seed", "0", "--timeout", "60", "--solver", "unipc", "--negative", "rain", "--lora",
    "x.safetensors", "--engine", "mini", "--diffusion-model", "a_high_noise", "--vae-model", "b",
)  # fmt: skip


def args(*argv: str) -> SubmitOptions:
    return parsed(SubmitOptions, *argv)


def fields(*argv: str) -> dict[str, object]:
    given = args(*argv)
    return generate_fields(given.prompt, _render_options.client_fields(given))


def test_every_argument_is_a_field_that_generate_knows_and_takes() -> None:
    request, warnings = parse(GenerateRequest, {**fields(*EVERYTHING), "reference_image_url": "x"})

    assert [] == warnings
    assert (Lora("x.safetensors", None),) == request.checked_loras()
    assert ("a_high_noise", "b") == (request.diffusion_model, request.vae_model)
    assert ("i2v-A14B", "832*480", 17, 8.0, 4, 3.5, 5.0, 0, 60.0, "unipc", "rain", "mini") == (
        request.task, request.size, request.frame_num, request.fps, request.sample_steps, request.sample_guide_scale,
        request.sample_shift, request.seed, request.timeout, request.sample_solver, request.negative_prompt,
        request.engine,
    )  # fmt: skip


def test_what_is_not_given_is_no_field() -> None:
    assert {"prompt": "a star"} == fields("a star")
    assert {} == fields()


def test_a_lora_without_a_name_is_the_models_own() -> None:
    bare = {"prompt": "a star", "use_lora": True}

    assert bare == fields("a star", "--lora")
    assert {**bare, "sample_steps": 4} == fields("--lora", "--steps", "4", "a star")
    assert {"prompt": "a star", "loras": [{"path": "a star"}]} == fields("--lora", "a star", "a star")
    assert {**bare, "prompt": "--lora"} == fields("--lora", "--", "--lora")


def test_loras_have_a_scale_and_an_expert_and_may_be_several() -> None:
    argv = ("a star", "--lora", "wan/a:0.8", "--lora", "b:c", "--high-noise-lora", "d:-1", "--low-noise-lora", "e")
    request, warnings = parse(GenerateRequest, fields(*argv))

    assert [] == warnings
    assert (
        Lora("wan/a", None, 0.8, 0.8), Lora("b:c", None), Lora("d", None, high_strength=-1.0, is_exact=True),
        Lora(None, "e", is_exact=True),
    ) == request.checked_loras()  # fmt: skip


@pytest.mark.parametrize("argv", [("--lora", ":2"), ("--lora", "a", "--lora"), ("--high-noise-lora", "a:nan")])
def test_what_is_no_lora_is_refused_by_its_option(argv: tuple[str, ...]) -> None:
    with pytest.raises(CommandFailed, match=rf"^{argv[0]} .* is not a LoRA"):
        fields("a star", *argv)


def test_the_options_of_the_delivery_are_fields_of_generate() -> None:
    urls = ["https://example.com/a?x=1", "https://example.com/b"]
    argv = (
        "a star",
        "--thumbnail",
        "--num-outputs",
        "2",
        *(word for url in urls for word in ("--output-upload-url", url)),
    )
    request, warnings = parse(GenerateRequest, fields(*argv))

    assert ([], True, 2, tuple(urls)) == (
        warnings, request.thumbnail, request.num_outputs, request.output_upload_urls,
    )  # fmt: skip


def test_every_field_of_the_client_has_an_option() -> None:
    names = {*FIELDS, *FILES, "lora"}
    options = {field.name for field in dataclasses.fields(_render_options.VideoOptions)}

    assert {*VideoFields.__annotations__} - {"extra"} == names
    assert set() == {
        name for name in names if _render_options.option_of(name).strip("-").replace("-", "_") not in options
    }


def test_the_tasks_and_the_engines_are_those_that_there_are() -> None:
    assert {*TASKS} == {*typing.get_args(_render_options.Task)}
    assert {*typing.get_args(EngineName)} == {*_render_options.ENGINES}


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--steps", "900"], "'--steps': Input should be less than or equal to 200"),
        (["--steps", "x"], "'--steps': Input should be a valid integer"),
        (["--seed", "18446744073709551616"], "'--seed': Input should be less than or equal to 18446744073709551615"),
        (["--guidance", "nan"], "'--guidance': Input should be less than or equal to 50"),
        (["--size", "big"], "'--size': size must look like"),
        (["--size", "10x10"], "'--size': width must be between 64 and 2048"),
        (["--task", "t2v"], "'t2v' is not one of 't2v-A14B'"),
    ],
)
def test_what_is_out_of_range_is_refused_by_the_name_that_was_typed(argv: list[str], expected: str) -> None:
    with pytest.raises(typer.TyperException) as caught:
        args("a star", *argv)

    assert 2 == caught.value.exit_code
    assert expected in caught.value.format_message()


def test_a_url_is_one_in_any_letter_case() -> None:
    given = _render_options.client_fields(args("a star", "--image", "HTTPS://host/a.png"))
    assert "HTTPS://host/a.png" == given["image"]
    assert {"image_url": "HTTPS://host/a.png"}.items() <= rest_body("a star", None, given).items()
    assert "HTTPS://host/a.png" == runpod_body("a star", None, given)["input"]["reference_image_url"]


def test_files_are_paths_or_urls(tmp_path: Path) -> None:
    picture = tmp_path / "a b.png"
    picture.touch()
    link = tmp_path / "link.png"
    link.symlink_to(picture)

    image, audio = _render_options.files_of(args("a star", "--image", str(link), "--audio", "https://host/a.wav?x=1"))

    assert ("image", "reference_image", picture.resolve()) == (image.name, image.field, image.path)
    assert ("audio", "https://host/a.wav?x=1") == (audio.field, audio.url)


def test_a_file_that_is_not_there_is_named_with_its_argument() -> None:
    with pytest.raises(CommandFailed, match=r"--last-image nowhere\.png: there is no such file"):
        _render_options.files_of(args("a star", "--last-image", "nowhere.png"))


def test_the_options_of_the_finished_clip_are_fields_of_generate(tmp_path: Path) -> None:
    (tmp_path / "tune.wav").write_bytes(b"RIFF")
    argv = ("a star", "--loop", "--target-fps", "60", "--upscale", "4x-UltraSharp", "--denoise", "0.5")
    request, warnings = parse(GenerateRequest, fields(*argv))

    assert [] == warnings
    assert (True, 60.0, "4x-UltraSharp", 0.5) == (request.loop, request.target_fps, request.upscale, request.denoise)
    (tune,) = _render_options.files_of(args("a star", "--soundtrack", str(tmp_path / "tune.wav")))
    assert ("soundtrack", "soundtrack") == (tune.name, tune.field)
