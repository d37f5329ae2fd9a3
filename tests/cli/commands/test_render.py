"""`wanworker render` as a person runs it; the miniature renders."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from fakes import command_line
from fakes.gate import Gate
from fakes.pictures import png_bomb
from wanworker.cli.commands import render
from wanworker.jobs.model import JobStatus
from wanworker.jobs.store.job_store import JobStore

SHORT = ("--size", "64x64", "--frames", "5", "--steps", "2", "--engine", "mini")


def test_a_prompt_and_a_picture_become_a_video_where_the_user_wants_it(tmp_path: Path) -> None:
    (tmp_path / "my.png").write_bytes(png_bomb(64))
    argv = ("a red star", *SHORT, "--image", "my.png", "--seed", "7", "-o", "my.mp4", "--json")

    code, said, complained = command_line.run(tmp_path, "render", *argv)

    answer = json.loads(said)
    assert (0, "COMPLETED", "mini-wan", 7) == (code, answer["status"]["status"], answer["model"], answer["seed"])
    stored, sheet = Path(answer["result"]["path"]), Path(answer["contact_sheet"])
    assert (["my.mp4"], stored.with_suffix(".png")) == (answer["files"], sheet)
    assert stored.read_bytes() == (tmp_path / "my.mp4").read_bytes()
    assert sheet.read_bytes().startswith(b"\x89PNG")
    assert png_bomb(64) == (tmp_path / "my.png").read_bytes()
    assert {"my.mp4", "my.png", "outputs"} == {path.name for path in tmp_path.iterdir()}
    assert "sampling" in complained
    assert "generate with fields" in stored.with_suffix(".log").read_text()


@pytest.mark.slow
def test_first_frames_are_saved_beside_the_videos(tmp_path: Path) -> None:
    argv = ("a red star", *SHORT, "--num-outputs", "2", "--thumbnail", "-o", "my.mp4", "--json")

    code, said, _ = command_line.run(tmp_path, "render", *argv)

    answer = json.loads(said)
    assert (0, ["my.jpg", "my-2.jpg"]) == (code, answer["thumbnails"])
    assert [b"\xff\xd8\xff"] * 2 == [(tmp_path / name).read_bytes()[:3] for name in answer["thumbnails"]]
    assert "thumbnail" not in {*answer, *answer["results"][1]}


def test_a_picture_that_cannot_be_written_fails_no_render(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert render._picture({"thumbnail": "data:image/jpeg;base64,YQ=="}, tmp_path / "gone" / "my.mp4") is None

    assert "my.jpg could not be written" in capsys.readouterr().err


def test_a_person_reads_notes_the_video_its_sheet_and_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    facts = {"width": 64, "height": 48, "frames": 5, "fps": 8.0}
    answer = {"warnings": ["frame_num 4 was changed to 5."], "video": facts, "model": "mini-wan", "seed": 7}
    answer["result"] = {"path": "my.mp4"}

    render.show(answer, [Path("my.mp4")], Path("my.png"), Path("my.log"))

    expected = [
        "note           frame_num 4 was changed to 5.",
        "video          my.mp4  (64x48, 5 frames, 8 fps, mini-wan, seed 7)",
        "contact sheet  my.png",
        "log            my.log",
    ]
    assert expected == capsys.readouterr().out.splitlines()


def test_a_file_that_is_there_is_not_overwritten_and_nothing_is_rendered(tmp_path: Path) -> None:
    (tmp_path / "my.mp4").write_text("mine")

    code, _, complained = command_line.run(tmp_path, "render", "a red star", "-o", "my.mp4")

    assert 2 == code
    assert "failed  my.mp4 already exists.\nhint    " in complained
    assert "mine" == (tmp_path / "my.mp4").read_text()
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("argv", "expected", "text"),
    [
        (["--task", "i2v-A14B"], 2, "Missing reference image (url/base64/path) for i2v task."),
        (["--engine", "wan_cli"], 2, "Model 'Wan2.2-T2V-A14B' not found"),
        (["--engine", "abacus"], 2, "abacus"),
    ],
)
def test_what_cannot_be_rendered_as_asked_is_told_with_a_hint(
    tmp_path: Path, argv: list[str], expected: int, text: str
) -> None:
    code, said, complained = command_line.run(tmp_path, "render", "a red star", *argv)

    assert (expected, "") == (code, said)
    assert text in complained
    assert "\nhint    " in complained
    assert "\nlog     " in complained


def test_a_failure_as_json_has_the_documented_keys(tmp_path: Path) -> None:
    code, said, _ = command_line.run(tmp_path, "render", "a red star", "--engine", "wan_cli", "--json")

    failure = json.loads(said)
    assert (2, "MODEL_NOT_FOUND") == (code, failure["code"])
    assert {"request_id", "error", "code", "hint"} == set(failure)


def test_an_output_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("a file")

    code, _, complained = command_line.run(tmp_path, "render", "a red star")

    assert 1 == code
    assert f"{tmp_path}/outputs" in complained
    assert "WAN_OUT_DIR" in complained


@pytest.mark.parametrize(
    ("number", "expected"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_ctrl_c_cancels_the_job_before_the_command_ends(tmp_path: Path, number: int, expected: int) -> None:
    gate = Gate(tmp_path / "gate")
    process = command_line.start(tmp_path, "render", "a red star", "--engine", "mini", env=gate.environment)
    gate.wait_for_a_job(process)
    process.send_signal(number)
    _, complained = process.communicate(timeout=60)

    (job,) = JobStore(tmp_path / "outputs" / "jobs").recent().jobs
    assert expected == process.returncode, complained
    assert JobStatus.CANCELLED is job.status
    assert complained.endswith("Stopped.\n")
    assert [] == list((tmp_path / "outputs").glob("*.mp4"))


def test_weights_that_are_missing_are_told_in_a_line_for_each_engine(tmp_path: Path) -> None:
    code, _, complained = command_line.run(tmp_path, "render", "a star", env={"WAN_MINI": "false"})

    lines = complained.partition("failed  ")[2].splitlines()
    assert 2 == code
    assert lines[0].startswith("Model 'Wan2.2-T2V-A14B' not found in ")
    assert ["hint", "diffusers:", "comfyui:", "wan_cli:", "Searched:", "wanworker", "log"] == [
        lines[1].split()[0], *(line.removeprefix("hint").split()[0] for line in lines[1:6]), lines[6].split()[0],
    ]  # fmt: skip
    assert all(line.startswith("        ") for line in lines[2:6])
    assert lines[4].count(f"{tmp_path}/models,") == 1
