"""A spec's files on their way to the server."""

from __future__ import annotations

import dataclasses

import pytest

from fakes.clips import clip
from fakes.recordings import sound
from wanworker.comfyui.client.http import ComfyClient
from wanworker.engines.comfyui._inputs import sent_inputs
from wanworker.media.video.writer import probe
from wanworker.spec import TASKS, RenderSpec, Size


def spec(task, **files):
    row = TASKS[task]
    return RenderSpec(task, "x", row.size, False, float(row.fps), False, seed=1, **files)


@pytest.fixture
async def client(comfyui):
    async with ComfyClient(comfyui.url) as made:
        yield made


async def test_a_prompt_alone_sends_nothing(client, comfyui, tmp_path):
    sent = await sent_inputs(client, spec("t2v-A14B"), "job-1", tmp_path)

    assert sent.given() == {}
    assert comfyui.seen["POST /upload/image"] == 0


async def test_each_file_has_the_run_and_its_slot_in_its_name_and_the_sound_is_measured(
    client, comfyui, films, tmp_path
):
    image = tmp_path / "p.png"
    image.write_bytes(films[".png"])
    sent = await sent_inputs(client, spec("s2v-14B", image=image, audio=sound(tmp_path / "a.wav")), "job-1", tmp_path)

    assert sent.given() == {"image": "job-1_image.png", "audio": "job-1_audio.wav"}
    assert sent.audio_s == pytest.approx(0.5, abs=0.05)
    assert (comfyui.folder / "input" / "job-1_image.png").read_bytes() == films[".png"]


async def test_a_prepared_folder_gives_what_is_in_it_and_its_frames(client, films, tmp_path):
    (tmp_path / "src_ref.png").write_bytes(films[".png"])
    for name in ("src_pose.mp4", "src_face.mp4"):
        clip(tmp_path / name, frames=13)
    sent = await sent_inputs(client, spec("animate-14B", prepared_dir=tmp_path), "job-1", tmp_path)

    assert sent.given() == {
        "image": "job-1_image.png",
        "pose_video": "job-1_pose_video.mp4",
        "face_video": "job-1_face_video.mp4",
    }
    assert (sent.driving_frames, sent.background_video, sent.mask_video) == (13, None, None)


@pytest.mark.parametrize(
    ("task", "size", "fps", "facts", "whole", "notes"),
    [
        # 25 frames at 12.5 fps are 2 s; of an 8:6 film, the sides are cut.
        ("vace-A14B", Size(64, 64), 16.0, (64, 64, 16.0, 17), 32, "the control video was cropped (centre)"),
        ("v2v-A14B", Size(128, 96), 5.0, (128, 96, 5.0, 10), 10, ""),
        ("animate2-14B", Size(64, 64), 24.0, (64, 64, 24.0, 17), 48, "the driving video got black bars"),
    ],
)
async def test_a_driving_video_is_sent_in_the_form_of_the_clip(
    client, comfyui, tmp_path, task, size, fps, facts, whole, notes
):
    film = clip(tmp_path / "film.mp4", width=128, height=96, fps=12.5, frames=25)
    asked = dataclasses.replace(spec(task, driving_video=film), size=size, fps=fps, frames=17)
    sent = await sent_inputs(client, asked, "job-1", tmp_path)

    made = await probe(comfyui.folder / "input" / "job-1_driving_video.mp4")
    assert facts == (made.width, made.height, made.fps, made.frames)
    assert whole == sent.driving_frames
    assert ([notes] if notes else []) == [note.partition(",")[0] for note in sent.notes]
