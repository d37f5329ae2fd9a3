"""The embedded miniature, really rendering: what a prompt says is what the pixels show."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import wave
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy
import pytest
import pytest_asyncio
from PIL import Image, ImageDraw

from fakes.clips import clip, read_frames
from fakes.gate import Gate
from wanworker.engines._capabilities import MINI
from wanworker.engines.mini import MiniEngine, is_photograph, request_for, warnings_of
from wanworker.engines.resident.parent.start import resident
from wanworker.engines.resident.parent.supervisor import Supervisor
from wanworker.errors import OutOfMemory
from wanworker.media.video.writer import decode_check
from wanworker.progress import Progress
from wanworker.settings import Settings, child_environment
from wanworker.spec import RenderSpec, Size

pytestmark = pytest.mark.asyncio(loop_scope="module")

ENVIRONMENT = {**child_environment(), "OMP_NUM_THREADS": "1"}
STAR = RenderSpec(
    task="t2v-A14B", prompt="a red star moves to the right over a green field", size=Size(64, 64), size_given=True,
    fps=16, fps_given=False, seed=7, frames=17,
)  # fmt: skip

Pixels = numpy.ndarray[Any, numpy.dtype[numpy.float64]]


def no_report(_progress: Progress) -> None:
    """Take progress and do nothing with it."""


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    """The gate of the shared child, open but for the tests that close it."""
    gate = Gate(tmp_path_factory.mktemp("gate") / "gate")
    gate.open()
    return gate


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def warm(gate: Gate) -> AsyncIterator[Supervisor]:
    supervisor = resident({**ENVIRONMENT, **gate.environment})
    yield supervisor
    await supervisor.close()


@pytest.fixture
def engine(warm: Supervisor) -> MiniEngine:
    return MiniEngine(Settings(), supervisor=warm)


async def rendered_pixels(engine: MiniEngine, folder: Path, **changes: Any) -> Pixels:
    """Render STAR with changes; return the frames, 0 to 1."""
    spec = dataclasses.replace(STAR, **changes)
    await engine.render(spec, folder / "out.mp4", work_dir=folder, report=no_report)
    return read_frames(folder / "out.mp4") / 255.0


def centre(frame: Pixels, color: tuple[int, int, int]) -> tuple[float, float]:
    """Return where *color* is, (x, y) from 0 to 1 of the frame."""
    distance = numpy.abs(frame - numpy.array(color) / 255).sum(axis=2)
    rows, columns = numpy.nonzero(distance < 0.7)
    assert len(rows) > 8
    return columns.mean() / frame.shape[1], rows.mean() / frame.shape[0]


async def test_a_red_star_moves_to_the_right_over_a_green_field(engine: MiniEngine, tmp_path: Path) -> None:
    frames = await rendered_pixels(engine, tmp_path)

    path = [centre(frames[index], (225, 25, 30))[0] for index in (0, 8, 16)]
    ground = frames[:, 52:].mean(axis=(0, 1, 2))
    assert path[0] < 0.35 < path[1] < 0.65 < path[2]
    assert ground[1] > 1.3 * ground[0]
    assert ground[1] > 1.3 * ground[2]


async def test_the_clip_is_brought_to_what_was_asked_for_and_says_so(engine: MiniEngine, tmp_path: Path) -> None:
    spec = dataclasses.replace(
        STAR, size=Size(321, 180), frames=41, fps=23.976, prompt="a cinematic red star, cinematic"
    )
    seen: list[Progress] = []

    done = await engine.render(spec, tmp_path / "out.mp4", work_dir=tmp_path, report=seen.append)

    facts = await decode_check(tmp_path / "out.mp4")
    assert (320, 180, 41) == (facts.width, facts.height, facts.frames)
    assert 23.976 == pytest.approx(facts.fps, abs=0.001)
    assert "mini-wan" == done.model
    assert "128*128 pixels and 17 frames, enlarged to 320*180 and 41 frames" in done.warnings[0]
    assert "size 321*180 was made even, 320*180" in done.warnings[1]
    assert "does not know these words of the prompt: cinematic. It knows" in done.warnings[2]
    fractions = [progress.fraction for progress in seen]
    assert sorted(fractions) == fractions
    assert ["text", "sampling", "decoding", "encoding"] == [
        stage for stage in dict.fromkeys(progress.stage for progress in seen) if stage != "loading"
    ]


# The two experts draw the first frame anew, as Wan's do, from a condition; the one network is given it.
@pytest.mark.parametrize(("task", "least_db"), [("ti2v-5B", 20), ("i2v-A14B", 16)])
async def test_a_picture_is_the_first_frame(engine: MiniEngine, tmp_path: Path, task: str, least_db: float) -> None:
    picture = Image.new("RGB", (128, 128), (150, 205, 240))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 74, 128, 128), fill=(80, 170, 60))
    draw.ellipse((8, 50, 48, 90), fill=(225, 25, 30))
    picture.save(tmp_path / "picture.png")
    changes = {"task": task, "image": tmp_path / "picture.png", "prompt": "a red ball moves to the right"}

    frames = await rendered_pixels(engine, tmp_path, **changes)

    expected = numpy.asarray(picture.resize((64, 64), Image.Resampling.LANCZOS)) / 255.0
    psnr_db = -10 * numpy.log10(((frames[0] - expected) ** 2).mean())
    assert psnr_db > least_db
    assert centre(frames[16], (225, 25, 30))[0] - centre(frames[0], (225, 25, 30))[0] > 0.2


async def test_a_voice_decides_the_length_and_is_heard(engine: MiniEngine, tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "voice.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(range(256)) * 94)
    Image.new("RGB", (64, 64), (150, 205, 240)).save(tmp_path / "picture.png")
    spec = dataclasses.replace(
        STAR, task="s2v-14B", image=tmp_path / "picture.png", audio=tmp_path / "voice.wav", frames=None
    )

    done = await engine.render(spec, tmp_path / "out.mp4", work_dir=tmp_path, report=no_report)

    facts = await decode_check(tmp_path / "out.mp4")
    assert (25, True) == (facts.frames, facts.has_audio)
    assert "The miniature does not follow the sound; the sound was joined to the video as it is." in done.warnings


async def test_a_driving_video_decides_the_length_and_frames_cap_it(engine: MiniEngine, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), (150, 205, 240)).save(tmp_path / "picture.png")
    driving = clip(tmp_path / "driving.mp4", frames=30, fps=30)
    spec = dataclasses.replace(
        STAR, task="animate-14B", image=tmp_path / "picture.png", driving_video=driving, frames=None, fps=30
    )

    done = await engine.render(spec, tmp_path / "a.mp4", work_dir=tmp_path, report=no_report)
    await engine.render(dataclasses.replace(spec, frames=9), tmp_path / "b.mp4", work_dir=tmp_path, report=no_report)

    assert (29, 9) == ((await decode_check(tmp_path / "a.mp4")).frames, (await decode_check(tmp_path / "b.mp4")).frames)
    assert any("does not follow the driving video" in line for line in done.warnings)


async def test_a_job_cancelled_at_a_step_leaves_no_file_and_a_warm_child(
    engine: MiniEngine, warm: Supervisor, gate: Gate, tmp_path: Path
) -> None:
    await rendered_pixels(engine, tmp_path)
    (tmp_path / "out.mp4").unlink()
    pid = warm.pid
    steps: list[int] = []

    def cancel_at_the_first(progress: Progress) -> None:
        steps.append(progress.step or 0)
        if progress.step == 1:
            running.cancel()

    with gate.closed():
        running = asyncio.create_task(
            engine.render(STAR, tmp_path / "out.mp4", work_dir=tmp_path, report=cancel_at_the_first)
        )
        with pytest.raises(asyncio.CancelledError):
            await running
    left = list(tmp_path.iterdir())
    await rendered_pixels(engine, tmp_path)

    assert [] == left
    assert max(steps) == 1
    assert pid == warm.pid


@pytest.mark.slow
async def test_a_child_killed_in_mid_job_fails_that_job_and_the_next_gives_the_same_bytes(
    engine: MiniEngine, warm: Supervisor, gate: Gate, tmp_path: Path
) -> None:
    await engine.render(STAR, tmp_path / "before.mp4", work_dir=tmp_path, report=no_report)
    pid = warm.pid
    assert pid is not None

    def kill_at_the_first(progress: Progress) -> None:
        if progress.step == 1:
            os.kill(pid, signal.SIGKILL)

    with gate.closed(), pytest.raises(OutOfMemory, match="killed while rendering"):
        await engine.render(STAR, tmp_path / "killed.mp4", work_dir=tmp_path, report=kill_at_the_first)
    await engine.render(STAR, tmp_path / "after.mp4", work_dir=tmp_path, report=no_report)

    assert pid != warm.pid
    assert not (tmp_path / "killed.mp4").exists()
    assert (tmp_path / "before.mp4").read_bytes() == (tmp_path / "after.mp4").read_bytes()


async def test_a_thing_is_not_stretched_in_a_wide_clip(engine: MiniEngine, tmp_path: Path) -> None:
    frames = await rendered_pixels(
        engine, tmp_path, prompt="a big red square stands still in the snow", size=Size(416, 240)
    )

    rows, columns = numpy.nonzero(numpy.abs(frames[8] - numpy.array((225, 25, 30)) / 255).sum(axis=2) < 0.7)
    assert 0.8 < numpy.ptp(columns) / numpy.ptp(rows) < 1.25


async def test_a_prompt_that_names_nothing_known_gets_a_plain_background(engine: MiniEngine, tmp_path: Path) -> None:
    spec = dataclasses.replace(STAR, prompt="a cat plays the piano")

    done = await engine.render(spec, tmp_path / "out.mp4", work_dir=tmp_path, report=no_report)

    frames = read_frames(tmp_path / "out.mp4")
    assert 17 == len(frames)
    assert frames.astype(int).std(axis=(0, 2)).max() < 3, "every row has one colour, in all frames"
    assert any("names nothing that the miniature can draw" in line for line in done.warnings)


async def test_the_documented_numbers_of_fastwan_are_not_the_miniatures() -> None:
    fastwan = dataclasses.replace(STAR, task="ti2v-5B", steps=8, guidance=1.0)
    request, own = request_for(fastwan, Path("out.mp4"), 17), request_for(STAR, Path("out.mp4"), 17)

    assert (own.steps, own.guidance) == (request.steps, request.guidance)
    assert any("8 steps and guidance 1 are FastWAN's" in line for line in warnings_of(fastwan, request))
    assert 8 == request_for(dataclasses.replace(fastwan, guidance=3.0), Path("out.mp4"), 17).steps


async def test_a_clip_of_the_miniatures_own_size_is_not_called_enlarged() -> None:
    own = dataclasses.replace(STAR, size=Size(128, 128), frames=17)
    larger = dataclasses.replace(own, size=Size(256, 128))

    said = [warnings_of(spec, request_for(spec, Path("out.mp4"), 17))[0] for spec in (own, larger)]

    assert said[0].endswith(": 128*128 pixels and 17 frames.")
    assert said[1].endswith(", enlarged to 256*128 and 17 frames.")


async def test_a_photograph_is_told_from_a_drawing(tmp_path: Path) -> None:
    drawn = Image.new("RGB", (400, 300), (150, 205, 240))
    ImageDraw.Draw(drawn).ellipse((50, 50, 200, 200), fill=(225, 25, 30), outline=(90, 10, 10), width=6)
    drawn.save(tmp_path / "drawn.png")
    noise = numpy.random.default_rng(1).integers(0, 255, (12, 16, 3), numpy.uint8)
    Image.fromarray(noise).resize((400, 300), Image.Resampling.BICUBIC).save(tmp_path / "photo.png")

    assert (False, True) == (is_photograph(tmp_path / "drawn.png"), is_photograph(tmp_path / "photo.png"))


async def test_it_is_ready_for_every_task(engine: MiniEngine) -> None:
    assert all(engine.readiness(task).is_ready for task in MINI.tasks)
    assert not engine.readiness("t2v-1.3B").is_ready
