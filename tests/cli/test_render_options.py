from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from wanworker.actions.generate.request import GenerateRequest
from wanworker.actions.request.fields import parse
from wanworker.cli import _render_options
from wanworker.cli._base import CommandFailed

EVERYTHING = (
    "a star", "--task", "i2v-A14B", "--size", "832x480", "--frames", "17", "--fps", "8", "--steps", "4", "--guidance",
    "3.5", "--shift", "5", "--seed", "0", "--timeout", "60", "--solver", "unipc", "--negative", "rain", "--lora",
    "x.safetensors", "--engine", "mini",
)  # fmt: skip


def args(*argv: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    _render_options.add_arguments(parser, prompt_is_optional=True)
    return parser.parse_args(argv)


def test_every_argument_is_a_field_that_generate_knows_and_takes() -> None:
    request, warnings = parse(
        GenerateRequest, {**_render_options.fields_of(args(*EVERYTHING)), "reference_image_url": "x"}
    )

    assert [] == warnings
    assert ("i2v-A14B", "832*480", 17, 8.0, 4, 3.5, 5.0, 0, 60.0, "unipc", "rain", True, "x.safetensors", "mini") == (
        request.task, request.size, request.frame_num, request.fps, request.sample_steps, request.sample_guide_scale,
        request.sample_shift, request.seed, request.timeout, request.sample_solver, request.negative_prompt,
        request.use_lora, request.lora_name, request.engine,
    )  # fmt: skip


def test_what_is_not_given_is_no_field() -> None:
    assert {"prompt": "a star"} == _render_options.fields_of(args("a star"))
    assert {} == _render_options.fields_of(args())
    assert set() == _render_options.given(args("a star"))


def test_a_lora_without_a_name_is_the_models_own() -> None:
    assert {"prompt": "a star", "use_lora": True} == _render_options.fields_of(args("a star", "--lora"))


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([], "t2v-A14B"),
        (["--image", "a.png"], "i2v-A14B"),
        (["--image", "a.png", "--audio", "a.wav"], "s2v-14B"),
        (["--image", "a.png", "--video", "a.mp4"], "animate-14B"),
        (["--image", "a.png", "--task", "ti2v-5B"], "ti2v-5B"),
    ],
)
def test_the_files_make_the_task_unless_it_is_named(argv: list[str], expected: str) -> None:
    assert expected == _render_options.task_of(args("a star", *argv))


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--steps", "900"], "--steps: must be between 1 and 200; got 900"),
        (["--steps", "x"], "--steps: invalid number value: 'x'"),
        (["--seed", "18446744073709551616"], "--seed: must be between -1 and 18446744073709551615"),
        (["--guidance", "nan"], "--guidance: must be between 0 and 50; got nan"),
        (["--size", "big"], "--size: size must look like"),
        (["--size", "10x10"], "--size: width must be between 64 and 2048"),
        (["--task", "t2v"], "--task: invalid choice"),
    ],
)
def test_what_is_out_of_range_is_refused_by_the_name_that_was_typed(
    argv: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        args("a star", *argv)

    assert 2 == caught.value.code
    assert expected in capsys.readouterr().err


def test_files_are_paths_or_urls(tmp_path: Path) -> None:
    picture = tmp_path / "a b.png"
    picture.touch()
    link = tmp_path / "link.png"
    link.symlink_to(picture)

    image, audio = _render_options.files_of(args("a star", "--image", str(link), "--audio", "https://host/a.wav?x=1"))

    assert ("--image", "reference_image", picture.resolve()) == (image.argument, image.field, image.path)
    assert ("audio", "https://host/a.wav?x=1") == (audio.field, audio.url)


def test_a_file_that_is_not_there_is_named_with_its_argument() -> None:
    with pytest.raises(CommandFailed, match=r"--last-image nowhere\.png: there is no such file"):
        _render_options.files_of(args("a star", "--last-image", "nowhere.png"))
