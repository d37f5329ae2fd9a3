"""
The command line of each task, word for word.

On 2026-11-21 the output of `argv_for` (540 combinations of task, size, cards and fields) was read by upstream's own
`_parse_args` and `_validate_args` (Wan2.2 at 42bf4cf, heavy imports stubbed), and gave the values that were meant; the
parser of tests/fakes/wan/upstream.py was compared with upstream's, flag by flag (35: type, default, choices).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fakes.wan import upstream
from wanworker.engines.wan_cli.argv import SIZES, Places, argv_for, clips_for, processes_for
from wanworker.errors import InvalidRequest
from wanworker.models.machine.hardware import Gpu
from wanworker.spec import RenderSpec, Size

PLACES = Places("/venv/bin/python", Path("/models/ckpt"), Path("/job/video.mp4"))
IMAGE, AUDIO, POSE = Path("/in/picture.png"), Path("/in/voice.wav"), Path("/in/pose.mp4")


def cards(*memory_mib: int) -> list[Gpu]:
    return [Gpu("card", mib, "9.0", "580") for mib in memory_mib]


def make_spec(task: str, **changes: Any) -> RenderSpec:
    fields: dict[str, Any] = {"size": SIZES[task][0], "size_given": False, "fps": 16, "fps_given": False, "seed": 42}
    return RenderSpec(task, **{"prompt": "a cat", **fields, **changes})


def test_the_command_line_of_t2v_has_its_flags_in_upstreams_words() -> None:
    spec = make_spec("t2v-A14B", size=Size(832, 480), frames=81, steps=20, shift=3.5, guidance=4.0, solver="dpm++")

    assert argv_for(spec, PLACES, cards(81559)) == [
        "/venv/bin/python",
        "generate.py",
        "--task=t2v-A14B",
        "--ckpt_dir=/models/ckpt",
        "--save_file=/job/video.mp4",
        "--size=832*480",
        "--base_seed=42",
        "--sample_solver=dpm++",
        "--sample_steps=20",
        "--sample_shift=3.5",
        "--sample_guide_scale=4.0",
        "--frame_num=81",
        "--prompt=a cat",
        "--offload_model=True",
        "--convert_model_dtype",
    ]


def test_the_command_line_of_i2v_has_its_flags_in_upstreams_words() -> None:
    spec = make_spec("i2v-A14B", image=IMAGE, offload_model=False)

    assert argv_for(spec, PLACES, cards(49140)) == [
        "/venv/bin/python",
        "generate.py",
        "--task=i2v-A14B",
        "--ckpt_dir=/models/ckpt",
        "--save_file=/job/video.mp4",
        "--size=1280*720",
        "--base_seed=42",
        "--prompt=a cat",
        "--image=/in/picture.png",
        "--offload_model=False",
        "--convert_model_dtype",
    ]


@pytest.mark.parametrize(("given", "flags"), [(None, ["--sample_shift=3.0"]), (5.0, ["--sample_shift=5.0"])])
def test_a_picture_at_480p_has_the_shift_of_upstreams_readme(given: float | None, flags: list[str]) -> None:
    argv = argv_for(make_spec("i2v-A14B", image=IMAGE, size=Size(832, 480), shift=given), PLACES, cards(81559))

    assert flags == [flag for flag in argv if flag.startswith("--sample_shift")]


def test_the_command_line_of_ti2v_has_its_flags_in_upstreams_words() -> None:
    spec = make_spec("ti2v-5B", frames=121)

    assert argv_for(spec, PLACES, cards(32607)) == [
        "/venv/bin/python",
        "generate.py",
        "--task=ti2v-5B",
        "--ckpt_dir=/models/ckpt",
        "--save_file=/job/video.mp4",
        "--size=1280*704",
        "--base_seed=42",
        "--frame_num=121",
        "--prompt=a cat",
        "--offload_model=True",
        "--convert_model_dtype",
        "--t5_cpu",
    ]


def test_the_command_line_of_s2v_has_its_flags_in_upstreams_words() -> None:
    spec = make_spec("s2v-14B", image=IMAGE, audio=AUDIO, driving_video=POSE, frames=121)

    assert argv_for(spec, PLACES, cards(81559)) == [
        "/venv/bin/python",
        "generate.py",
        "--task=s2v-14B",
        "--ckpt_dir=/models/ckpt",
        "--save_file=/job/video.mp4",
        "--size=1280*720",
        "--base_seed=42",
        "--prompt=a cat",
        "--image=/in/picture.png",
        "--audio=/in/voice.wav",
        "--pose_video=/in/pose.mp4",
        "--num_clip=2",
        "--infer_frames=64",
        "--offload_model=True",
        "--convert_model_dtype",
    ]


def test_the_command_line_of_animate_has_its_flags_in_upstreams_words() -> None:
    places = Places("python3", Path("/models/ckpt"), Path("/job/video.mp4"), Path("/job/prepared"))

    assert argv_for(make_spec("animate-14B"), places, cards(46068)) == [
        "python3",
        "generate.py",
        "--task=animate-14B",
        "--ckpt_dir=/models/ckpt",
        "--save_file=/job/video.mp4",
        "--size=1280*720",
        "--base_seed=42",
        "--src_root_path=/job/prepared",
        "--refert_num=1",
        "--offload_model=True",
        "--convert_model_dtype",
        "--t5_cpu",
    ]


def test_several_cards_share_the_model() -> None:
    argv = argv_for(make_spec("t2v-A14B", offload_model=True), PLACES, cards(24564, 24564, 24564, 24564))

    assert argv[:6] == [
        "/venv/bin/python",
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node=4",
        "generate.py",
    ]
    assert argv[-4:] == ["--dit_fsdp", "--t5_fsdp", "--ulysses_size=4", "--offload_model=False"]
    assert "--convert_model_dtype" not in argv


@pytest.mark.parametrize(
    ("task", "gpu_count", "processes"),
    [
        ("t2v-A14B", 0, 1),
        ("t2v-A14B", 3, 2),
        ("i2v-A14B", 7, 5),
        ("s2v-14B", 8, 8),
        ("animate-14B", 6, 5),
        ("ti2v-5B", 3, 3),
        ("ti2v-5B", 5, 4),
        ("ti2v-5B", 7, 6),
    ],
)
def test_as_many_cards_are_used_as_divide_the_heads(task: str, gpu_count: int, processes: int) -> None:
    assert processes_for(task, gpu_count) == processes


def test_a_replacement_is_lit_where_the_lora_is_there() -> None:
    source = Path("/job/prepared")
    argvs = [
        argv_for(make_spec("animate-14B"), Places("p", source, source, source, replaces, relights), [])
        for replaces, relights in ((True, True), (True, False), (False, True))
    ]

    given = [("--replace_flag" in argv, "--use_relighting_lora" in argv) for argv in argvs]
    assert given == [(True, True), (True, False), (False, False)]


def test_5b_on_a_large_card_needs_no_saving() -> None:
    argv = argv_for(make_spec("ti2v-5B"), PLACES, cards(81559))

    assert argv[-1] == "--offload_model=False"
    assert "--t5_cpu" not in argv


def test_paths_are_absolute_because_the_program_runs_elsewhere() -> None:
    argv = argv_for(make_spec("i2v-A14B", image=Path("picture.png")), PLACES, [])

    assert f"--image={Path.cwd() / 'picture.png'}" in argv


@pytest.mark.parametrize(
    ("frames", "clips"),
    [(None, (None, 80)), (33, (1, 36)), (77, (1, 80)), (81, (2, 44)), (157, (2, 80)), (161, (3, 56))],
)
def test_clips_hold_the_frames_and_hardly_more(frames: int | None, clips: tuple[int | None, int]) -> None:
    assert clips_for(frames) == clips


def test_a_highest_seed_leaves_room_for_the_clips_of_a_voice() -> None:
    argv = argv_for(make_spec("s2v-14B", image=IMAGE, audio=AUDIO, seed=2**64 - 1), PLACES, [])

    seed = next(int(flag.partition("=")[2]) for flag in argv if flag.startswith("--base_seed="))
    assert 2**64 - 200_000 < seed < 2**64 - 50_000


@pytest.mark.parametrize(
    ("task", "fields", "needs"),
    [
        ("i2v-A14B", {}, "needs image"),
        ("s2v-14B", {}, "needs image and audio"),
        ("s2v-14B", {"image": IMAGE}, "needs audio"),
        ("animate-14B", {"image": IMAGE}, "needs src_root_path"),
    ],
)
def test_what_upstream_would_replace_by_its_samples_is_refused(task: str, fields: dict[str, Any], needs: str) -> None:
    with pytest.raises(InvalidRequest, match=needs):
        argv_for(make_spec(task, **fields), PLACES, [])


def test_sizes_are_upstreams() -> None:
    listed = {task: {str(size) for size in sizes} for task, sizes in SIZES.items()}

    assert listed == {task: set(sizes) for task, sizes in upstream.SUPPORTED.items()}
