from __future__ import annotations

import os
import subprocess
import wave
from pathlib import Path

import pytest

from wanworker.engines.wan_cli._s2v import clips_of, duration_s, with_ffmpeg


@pytest.mark.parametrize(
    ("sound_s", "frames", "clips"),
    [(1.0, None, 1), (4.9, None, 1), (5.0, None, 2), (12.0, None, 3), (12.0, 77, 1), (12.0, 161, 3), (1.0, 161, 1)],
)
def test_clips_are_counted_as_upstream_counts_them(sound_s: float, frames: int | None, clips: int) -> None:
    assert clips_of(sound_s, frames) == clips


async def test_the_length_of_a_sound_is_read(tmp_path: Path) -> None:
    path = tmp_path / "-sound.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", "not compressed"))
        file.writeframes(bytes(2 * 8000 * 3))

    assert await duration_s(path) == 3.0


async def test_the_length_of_what_is_no_sound_is_unknown(tmp_path: Path) -> None:
    path = tmp_path / "text.wav"
    path.write_text("hello")

    assert await duration_s(path) is None


def test_a_system_without_ffmpeg_gets_ours_by_that_name(tmp_path: Path) -> None:
    env = with_ffmpeg({"PATH": "/nowhere"}, tmp_path / "bin")

    said = subprocess.run(["ffmpeg", "-version"], env=env, capture_output=True, text=True, check=True)
    assert said.stdout.startswith("ffmpeg version")
    assert env["PATH"].split(os.pathsep)[-1] == "/nowhere"


def test_an_ffmpeg_of_the_system_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "ffmpeg").write_text("#!/bin/sh\n")
    (tmp_path / "ffmpeg").chmod(0o755)
    env = {"PATH": str(tmp_path)}

    assert with_ffmpeg(env, tmp_path / "bin") == env
    assert not (tmp_path / "bin").exists()
