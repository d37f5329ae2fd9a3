"""What the files of a `generate` request become in its spec."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fakes.clips import clip
from fakes.recordings import sound
from wanworker.actions.generate.render_request import job_request, render_request
from wanworker.actions.generate.request import GenerateRequest
from wanworker.actions.request.fields import parse
from wanworker.errors import InputRefused, InputUnavailable
from wanworker.media.inputs.reader import InputReader
from wanworker.render import PreparedSpec
from wanworker.spec import RenderSpec, Size


async def prepared(root: Path, **fields: Any) -> tuple[RenderSpec, tuple[str, ...]]:
    """Return the spec of a request whose paths lie in *root*, and its warnings."""
    request, warnings = parse(GenerateRequest, {"prompt": "a cat", **fields})
    named = job_request(request, request_id="job-1", action="generate")
    inputs = InputReader(roots=(root,))
    try:
        to_render = render_request(request, named, inputs=inputs, warnings=warnings, engine="auto", timeout_s=60)
        work = root / "work"
        work.mkdir()
        made: PreparedSpec = await to_render.prepare(work)
    finally:
        inputs.close()
    assert isinstance(made.spec, RenderSpec)
    return made.spec, made.warnings


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"task": "animate-14B", "image_path": "a.png", "video_path": "a.mp4"}, {"image", "driving_video"}),
        ({"task": "animate-14B", "prepared_path": "made", "video_path": "a.mp4"}, {"prepared_dir"}),
        ({"task": "i2v-A14B", "image_path": "a.png", "loop": True}, {"image", "last_image"}),
        ({"task": "t2v-A14B", "last_image_path": "a.png", "audio_path": "a.wav"}, {"last_image"}),
        ({"task": "s2v-14B", "image_path": "a.png", "audio_path": "a.wav"}, {"image", "audio"}),
        ({"task": "t2v-A14B", "soundtrack_path": "a.wav"}, {"soundtrack"}),
    ],
)
def test_a_draft_shows_which_files_the_job_will_have(tmp_path: Path, fields: dict[str, Any], named: set[str]) -> None:
    request, warnings = parse(GenerateRequest, {"prompt": "a cat", **fields})
    named_job = job_request(request, request_id="job-1", action="generate")
    with contextlib.closing(InputReader(roots=(tmp_path,))) as inputs:
        to_render = render_request(request, named_job, inputs=inputs, warnings=warnings, engine="auto", timeout_s=60)

    assert to_render.draft is not None
    files = ("image", "last_image", "audio", "driving_video", "soundtrack", "prepared_dir")
    assert named == {name for name in files if getattr(to_render.draft, name) is not None}


async def test_a_loop_ends_with_its_first_picture(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    spec, _ = await prepared(tmp_path, task="i2v-A14B", image_path="a.png", loop=True)

    assert spec.loop
    assert spec.image is not None
    assert spec.image == spec.last_image


async def test_a_video_gives_the_size_where_no_picture_does(tmp_path: Path) -> None:
    clip(tmp_path / "a.mp4", width=160, height=80)
    spec, warnings = await prepared(tmp_path, task="v2v-A14B", video_path="a.mp4", denoise=0.5)

    assert (0.5, Size(1360, 672), False) == (spec.denoise, spec.size, spec.size_given)
    assert spec.driving_video is not None
    assert () == warnings


async def test_a_long_video_gets_the_nearest_size_and_is_told(tmp_path: Path) -> None:
    clip(tmp_path / "a.mp4", width=192, height=32)
    spec, warnings = await prepared(tmp_path, task="vace-A14B", control_video_path="a.mp4")

    assert spec.size == Size(2016, 336)
    assert warnings == (
        "size 2016*336 was chosen for the video of 192 x 32: its shape at the default area would be 2352*392, and a "
        "side has 64 to 2048 pixels.",
    )


async def test_a_video_that_no_size_can_show_is_refused_with_its_numbers(tmp_path: Path) -> None:
    clip(tmp_path / "a.mp4", width=640, height=16)

    with pytest.raises(
        InputRefused, match=r"^control video: the video is 640 x 16, 40:1; the limit is 32:1"
    ) as refused:
        await prepared(tmp_path, task="vace-A14B", control_video_path="a.mp4")

    assert refused.value.field == "driving_video"


@pytest.mark.parametrize("shape", [{}, {"aspect_ratio": "auto"}])
async def test_a_video_gives_the_shape_at_the_area_of_the_resolution(tmp_path: Path, shape: dict[str, str]) -> None:
    clip(tmp_path / "a.mp4", width=160, height=80)
    spec, _ = await prepared(tmp_path, task="v2v-A14B", video_path="a.mp4", resolution="480p", **shape)

    assert (spec.size, spec.size_given) == (Size(896, 448), False)


async def test_a_prepared_folder_gives_no_shape(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    clip(tmp_path / "a.mp4", width=160, height=80)
    fields = {"prepared_path": "made", "video_path": "a.mp4", "resolution": "480p"}
    spec, _ = await prepared(tmp_path, task="animate-14B", **fields)

    assert (spec.size, spec.size_given) == (Size(832, 480), True)


async def test_a_sound_for_the_clip_is_read_for_every_task(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav")
    spec, warnings = await prepared(
        tmp_path, task="t2v-A14B", soundtrack_path="a.wav", target_fps=60, upscale="4x-UltraSharp", denoise=0.5
    )

    assert (60, None, "4x-UltraSharp", None) == (
        spec.target_fps, spec.upscale_factor, spec.upscale_model, spec.denoise,
    )  # fmt: skip
    assert spec.soundtrack is not None
    assert spec.soundtrack.is_file()
    assert ("denoise was ignored: t2v-A14B starts from noise, not from a video.",) == warnings


async def test_a_control_video_that_is_none_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no film")

    with pytest.raises(InputUnavailable, match=r"^control video: "):
        await prepared(tmp_path, task="vace-A14B", control_video_path="a.mp4")


async def test_use_lora_false_is_obeyed_and_said_so(tmp_path: Path) -> None:
    named = {"task": "t2v-A14B", "lora": "a.safetensors", "loras": [{"high": "b"}]}
    refused, warnings = await prepared(tmp_path, **named, use_lora=False)

    assert (refused.use_lora, refused.loras) == (False, ())
    assert warnings == ("lora was ignored: use_lora is false.", "loras was ignored: use_lora is false.")
