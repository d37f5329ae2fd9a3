"""`wanworker plan` as a person runs it."""

from __future__ import annotations

import json
import socket
from pathlib import Path

from fakes import command_line
from wanworker.cli.commands import plan

SHORT = ("--size", "64x64", "--frames", "6", "--engine", "mini")

ANSWER = {
    "engine": "diffusers",
    "model": "Wan2.2-T2V-A14B",
    "video": {"width": 832, "height": 480, "frames": 81, "fps": 16.0},
    "num_outputs": 2,
    "recipe": {
        "name": "Wan's own numbers",
        "steps": 40, "guidance": 4.0, "guidance_low": 3.0, "shift": 12.0, "solver": "unipc",
    },
    "placement": {"device": "cuda", "experts": "slot", "host_gib": 29.8},
    "warnings": ["frame_num 80 was changed to 81."],
    "unknown": [],
    "seconds": 200.0, "seconds_warm": 190.0, "seconds_cold": None, "like_jobs": 3, "cost": 0.11,
}  # fmt: skip


def test_a_plan_is_json_for_programs_and_makes_nothing(tmp_path: Path) -> None:
    code, said, _ = command_line.run(tmp_path, "plan", "a red star", *SHORT, "--price-per-hour", "2", "--json")

    answer = json.loads(said)
    assert (0, "mini", "64*64", 5, None) == (
        code, answer["engine"], answer["size"], answer["video"]["frames"], answer["cost"],
    )  # fmt: skip
    assert [] == [*tmp_path.rglob("*.mp4")]


def test_a_person_reads_a_line_of_each() -> None:
    assert [
        ("engine", "diffusers (Wan2.2-T2V-A14B)"),
        ("video", "2 videos of 832x480, 81 frames, 16 fps"),
        ("recipe", "Wan's own numbers: 40 steps, guidance 4 (low noise 3), shift 12, unipc"),
        ("placement", "device cuda, experts slot"),
        ("time", "200 s, the median of 3 jobs like it (190 s with everything loaded)"),
        ("cost", "0.11"),
        ("note", "frame_num 80 was changed to 81."),
    ] == list(plan.lines_of(ANSWER))


def test_what_is_not_known_is_said(tmp_path: Path) -> None:
    unsaid = {"width": None, "height": None, "frames": None, "fps": None}
    answer = {**ANSWER, "video": unsaid, "recipe": None, "placement": None, "seconds": None, "cost": None}
    lines = dict(plan.lines_of({**answer, "num_outputs": 1, "unknown": ["size: the picture decides."]}))

    assert "size not known yet, number of frames not known yet" == lines["video"]
    assert "not known: no job like it has been rendered here" == lines["time"]
    assert "size: the picture decides." == lines["not known yet"]


def test_what_render_would_refuse_is_refused(tmp_path: Path) -> None:
    code, _, complained = command_line.run(tmp_path, "plan", "a red star", "--engine", "wan_cli")

    assert 2 == code
    assert "Model 'Wan2.2-T2V-A14B' not found" in complained


def test_a_plan_that_fails_says_so_in_two_lines_and_keeps_no_log(tmp_path: Path) -> None:
    with socket.socket() as taken:  # bound, so that nobody listens there
        taken.bind(("127.0.0.1", 0))
        env = {"COMFYUI_PORT": str(taken.getsockname()[1])}
        code, said, complained = command_line.run(tmp_path, "plan", "a red star", "--engine", "comfyui", env=env)

    failed, hint = complained.splitlines()
    assert (1, "") == (code, said)
    assert failed.startswith("failed  ComfyUI server is not responding")
    assert hint.endswith("The cause: no connection (Connection refused).")
