"""The engine against fake generate.py programs, each with one behaviour, run by the real process code."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import os
import sys
import wave
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from fakes.wan.home import make_home
from fakes.wan.upstream import write_video
from wanworker.engines._capabilities import WAN_CLI as CAPABILITIES
from wanworker.engines.base import Rendered
from wanworker.engines.wan_cli.engine import WanCli
from wanworker.errors import (
    EngineError,
    EngineFailed,
    EngineUnavailable,
    InputUnavailable,
    InvalidRequest,
    NoOutput,
    OutOfMemory,
)
from wanworker.media.video.writer import decode_check
from wanworker.models.machine.hardware import Gpu
from wanworker.progress import Progress
from wanworker.settings import Settings
from wanworker.spec import TASKS, RenderSpec, Size

ENV = {"PATH": os.defpath, "HOME": "/nowhere"}


class Bench:
    """A fake WAN_HOME with one behaviour, the engine on it, and what a render reports."""

    def __init__(self, folder: Path, behaviour: str = "ok", *, gpus: Sequence[Gpu] = (), **options: Any) -> None:
        self.home, self.models = make_home(folder, behaviour)
        self.work = folder / "work"
        self.work.mkdir()
        self.out = folder / "out.mp4"
        self.progress: list[Progress] = []
        ticks = itertools.count()
        options = {
            "env": ENV,
            "python": sys.executable,
            "stop_grace_s": 0.2,
            "available_memory_mib": lambda: None,
            **options,
        }
        self.engine = WanCli(
            home=self.home, model_dirs=[self.models], gpus=lambda: gpus, clock=lambda: float(next(ticks)), **options
        )

    async def render(self, spec: RenderSpec) -> Rendered:
        return await self.engine.render(spec, self.out, work_dir=self.work, report=self.progress.append)

    @property
    def fractions(self) -> list[float]:
        return [progress.fraction for progress in self.progress]

    @property
    def stages(self) -> list[str]:
        return [stage for stage, _ in itertools.groupby(progress.stage for progress in self.progress)]

    @property
    def is_clean(self) -> bool:
        return not list(self.work.iterdir()) and not self.out.exists()


def make_spec(task: str = "t2v-A14B", **changes: Any) -> RenderSpec:
    """A small, valid request for *task*."""
    size = Size(832, 480) if "A14B" in task else TASKS[task].size
    spec = RenderSpec(task, "a cat", size, size_given=False, fps=TASKS[task].fps, fps_given=False, seed=7, frames=5)
    return dataclasses.replace(spec, **{"steps": 4, **changes})


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    from PIL import Image

    path = tmp_path / "picture.png"
    Image.new("RGB", (64, 64), "teal").save(path)
    return path


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """Twelve seconds of silence: three clips."""
    path = tmp_path / "sound.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(2 * 8000 * 12))
    return path


@pytest.fixture
def driving_video(tmp_path: Path) -> Path:
    path = tmp_path / "driving.mp4"
    write_video(path, 64, 64, 100, 30)
    return path


async def test_a_render_writes_the_video_and_nothing_else(tmp_path: Path) -> None:
    bench = Bench(tmp_path)

    rendered = await bench.render(make_spec())

    facts = await decode_check(bench.out)
    assert (facts.width, facts.height, facts.frames, facts.fps) == (832, 480, 5, 16)
    assert list(bench.work.iterdir()) == []
    assert rendered.model == "Wan2.2-T2V-A14B"
    assert rendered.warnings == ()
    assert rendered.timings["load_s"] > 0
    assert {"sampling_s", "saving_s"} <= set(rendered.timings)


async def test_progress_goes_through_the_stages_and_never_falls(tmp_path: Path) -> None:
    bench = Bench(tmp_path)

    await bench.render(make_spec(steps=6))

    assert bench.stages == ["starting", "loading", "encoding", "sampling", "decoding", "saving", "verifying"]
    assert bench.fractions == sorted(bench.fractions)
    assert bench.fractions[-1] < 1
    sampled = [(progress.step, progress.steps) for progress in bench.progress if progress.stage == "sampling"]
    assert sampled == [(step, 6) for step in range(7)]


async def test_both_experts_loading_bars_count_as_one(tmp_path: Path) -> None:
    bench = Bench(tmp_path)

    await bench.render(make_spec())

    loaded = [(progress.step, progress.steps) for progress in bench.progress if progress.stage == "loading"]
    assert loaded[-1] == (6, 6)


async def test_an_i2v_render_follows_the_picture(tmp_path: Path, picture: Path) -> None:
    bench = Bench(tmp_path)

    await bench.render(make_spec("i2v-A14B", image=picture))

    facts = await decode_check(bench.out)
    assert facts.width == facts.height


async def test_5b_renders_with_and_without_a_picture(tmp_path: Path, picture: Path) -> None:
    bench = Bench(tmp_path)

    await bench.render(make_spec("ti2v-5B", image=picture))
    bench.out.unlink()
    await bench.render(make_spec("ti2v-5B"))

    facts = await decode_check(bench.out)
    assert (facts.width, facts.height, facts.fps) == (1280, 704, 24)


async def test_a_spoken_video_has_its_sound_and_counts_through_its_clips(
    tmp_path: Path, picture: Path, sound: Path
) -> None:
    bench = Bench(tmp_path)

    await bench.render(make_spec("s2v-14B", size=Size(832, 480), image=picture, audio=sound, frames=None))

    facts = await decode_check(bench.out)
    assert facts.has_audio
    sampled = [progress for progress in bench.progress if progress.stage == "sampling"]
    assert (sampled[-1].step, sampled[-1].steps) == (12, 12)
    assert {progress.steps for progress in sampled} == {12}
    assert bench.fractions == sorted(bench.fractions)
    assert "adding sound" in bench.stages


async def test_frames_cap_a_spoken_video(tmp_path: Path, picture: Path, sound: Path) -> None:
    bench = Bench(tmp_path)

    await bench.render(make_spec("s2v-14B", size=Size(832, 480), image=picture, audio=sound, frames=33))

    facts = await decode_check(bench.out)
    assert facts.frames == 33


async def test_animate_prepares_its_folder_first(tmp_path: Path, picture: Path, driving_video: Path) -> None:
    bench = Bench(tmp_path)

    rendered = await bench.render(make_spec("animate-14B", image=picture, driving_video=driving_video, frames=None))

    facts = await decode_check(bench.out)
    assert facts.frames == 100
    assert bench.stages[0] == "preparing"
    sampled = [progress for progress in bench.progress if progress.stage == "sampling"]
    assert (sampled[-1].step, sampled[-1].steps) == (8, 8)
    assert rendered.warnings == ("prompt was ignored: upstream renders animate-14B with a prompt of its own.",)
    assert list(bench.work.iterdir()) == []


async def test_animate_takes_a_prepared_folder_and_leaves_it_there(tmp_path: Path, driving_video: Path) -> None:
    bench = Bench(tmp_path)
    prepared = tmp_path / "prepared"
    prepared.mkdir()
    for name in ("src_pose.mp4", "src_face.mp4", "src_ref.png"):
        (prepared / name).write_bytes(driving_video.read_bytes())

    await bench.render(make_spec("animate-14B", prepared_dir=prepared))

    assert "preparing" not in bench.stages
    assert len(list(prepared.iterdir())) == 3


async def test_a_prepared_folder_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    (tmp_path / "prepared").mkdir()
    (tmp_path / "prepared" / "src_face.mp4").touch()

    with pytest.raises(InputUnavailable, match=r"not in prepared/: src_pose.mp4, src_ref.png") as caught:
        await bench.render(make_spec("animate-14B", prepared_dir=tmp_path / "prepared"))

    assert caught.value.field == "prepared_path"
    assert bench.is_clean


async def test_animate_without_upstreams_preprocessing_says_what_is_missing(
    tmp_path: Path, picture: Path, driving_video: Path
) -> None:
    bench = Bench(tmp_path)
    detector = bench.models / "Wan2.2-Animate-14B/process_checkpoint/det/yolov10m.onnx"
    detector.unlink()

    with pytest.raises(EngineUnavailable, match=r"not there: \S+/yolov10m.onnx") as caught:
        await bench.render(make_spec("animate-14B", image=picture, driving_video=driving_video))

    assert "prepared_path" in (caught.value.hint or "")
    assert bench.is_clean


@pytest.mark.parametrize("task", ["i2v-A14B", "s2v-14B", "animate-14B"])
async def test_upstreams_sample_picture_is_never_rendered(tmp_path: Path, task: str) -> None:
    bench = Bench(tmp_path)

    with pytest.raises(InvalidRequest, match=f"{task} needs"):
        await bench.render(make_spec(task))

    assert bench.is_clean


@pytest.mark.parametrize("prompt", ["-a cat", "--task", "\u96ea\u306e\u732b \U0001f408 \u2014 caf\u00e9", "", "a\nb"])
async def test_any_prompt_reaches_the_program_as_it_is(tmp_path: Path, prompt: str) -> None:
    bench = Bench(tmp_path, env={**ENV, "LC_ALL": "C"})
    record = tmp_path / "prompt"
    program = bench.home / "generate.py"
    program.write_text(
        "import pathlib, sys; "
        f"pathlib.Path({str(record)!r}).write_text(next(a for a in sys.argv if a.startswith('--prompt=')))\n"
        + program.read_text()
    )

    await bench.render(make_spec(prompt=prompt))

    assert record.read_text() == f"--prompt={prompt}"


MISBEHAVIOURS: list[tuple[str, type[EngineError], str]] = [
    ("fails", EngineFailed, r"ended with code 1 while sampling: RuntimeError: shape '\[1, 5, 4, 60, 104\]'"),
    ("out_of_memory", OutOfMemory, "The GPU ran out of memory while generate.py was encoding"),
    ("killed", OutOfMemory, r"the machine's memory \(RAM\) while encoding"),
    ("no_output", NoOutput, "wrote no video. It wrote: save_video failed, error: TiffWriter"),
    ("half_file", NoOutput, "its video is damaged"),
    ("missing_dependency", EngineUnavailable, "the Python module 'decord'. Install it with: .* -m pip install decord"),
    ("no_flash_attn", EngineUnavailable, "needs flash-attn, which is not installed"),
    ("older", EngineFailed, "another version of Wan2.2.*: argument --task: invalid choice: 't2v-A14B'"),
]


@pytest.mark.parametrize(("behaviour", "error", "says"), MISBEHAVIOURS, ids=[row[0] for row in MISBEHAVIOURS])
async def test_a_misbehaviour_has_its_error_and_leaves_nothing(
    tmp_path: Path, behaviour: str, error: type[EngineError], says: str
) -> None:
    bench = Bench(tmp_path, behaviour)

    with pytest.raises(error, match=says) as caught:
        await bench.render(make_spec())

    assert type(caught.value) is error
    assert "Traceback" not in str(caught.value)
    assert 'File "' not in str(caught.value)
    assert str(bench.work) not in str(caught.value)
    assert bench.is_clean


async def test_a_spoken_video_without_sound_is_no_output(tmp_path: Path, picture: Path, sound: Path) -> None:
    bench = Bench(tmp_path, "silent")

    with pytest.raises(NoOutput, match=r"has no sound\. It wrote: FFmpeg execute failed: Unknown encoder"):
        await bench.render(make_spec("s2v-14B", size=Size(832, 480), image=picture, audio=sound, frames=13))

    assert bench.is_clean


async def test_the_whole_tail_goes_to_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(tmp_path, "fails")

    with pytest.raises(EngineFailed):
        await bench.render(make_spec())

    assert "Traceback" in caplog.text
    assert "ended with 1" in caplog.text


async def cancelled(bench: Bench, cancel: Callable[[asyncio.Task[Rendered]], object]) -> list[int]:
    """Render with the fake that hangs, *cancel* it there, and return the ids of its two processes."""
    task = asyncio.create_task(bench.render(make_spec()))
    while not (bench.home / "pids").exists():
        assert not task.done(), task.exception()
        await asyncio.sleep(0.01)
    cancel(task)
    await asyncio.wait([task])
    assert task.cancelled() or task.exception() is not None
    return [int(pid) for pid in (bench.home / "pids").read_text().split()]


async def test_a_cancelled_render_leaves_no_process_and_no_half_file(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "hangs")

    pids = await cancelled(bench, lambda task: task.cancel())

    assert len(pids) == 2
    assert not [pid for pid in pids if Path("/proc", str(pid)).exists() and is_running(pid)]
    assert bench.is_clean


async def test_a_program_that_writes_nothing_for_ever_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "hangs", stall_s=3)

    with pytest.raises(EngineFailed, match=r"generate\.py hung: it wrote nothing for 3 s while \w+, and was ended"):
        await bench.render(make_spec())

    assert bench.is_clean
    pids = bench.home / "pids"  # where the machine was too slow for it to come that far, it was silent earlier
    assert not [pid for pid in (pids.read_text().split() if pids.exists() else ()) if is_running(int(pid))]


async def test_a_deadline_stops_a_render(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "hangs")

    async def render() -> None:
        async with asyncio.timeout(60) as scope:
            rendering = asyncio.create_task(bench.render(make_spec()))
            while not (bench.home / "pids").exists():
                await asyncio.sleep(0.01)
            scope.reschedule(0)
            await rendering

    with pytest.raises(TimeoutError):
        await render()

    pids = [int(pid) for pid in (bench.home / "pids").read_text().split()]
    assert not [pid for pid in pids if is_running(pid)]
    assert bench.is_clean


def is_running(pid: int) -> bool:
    try:
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


async def test_a_render_without_weights_is_unavailable(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    (bench.models / "Wan2.2-T2V-A14B" / "Wan2.1_VAE.pth").unlink()

    with pytest.raises(EngineUnavailable, match=r"Wan2.2-T2V-A14B/Wan2.1_VAE.pth is missing"):
        await bench.render(make_spec())


def test_an_engine_with_everything_lacks_only_the_machine(tmp_path: Path) -> None:
    bench = Bench(tmp_path)

    states = {task: bench.engine.readiness(task) for task in CAPABILITIES.tasks}

    assert {task: state.missing for task, state in states.items()} == dict.fromkeys(CAPABILITIES.tasks, ())
    assert all(state.lacking[0] == "no NVIDIA GPU" for state in states.values())
    assert str(bench.models / "Wan2.2-TI2V-5B") in states["ti2v-5B"].searched


def test_the_interpreter_is_asked_once_and_only_with_weights_there(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho once >> {asked}\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    bench = Bench(tmp_path, python=str(python))
    (bench.models / "Wan2.2-S2V-14B" / "config.json").unlink()

    before = bench.engine.readiness("s2v-14B")
    was_asked = asked.exists()
    lacking = [bench.engine.readiness(task).lacking for task in ("t2v-A14B", "i2v-A14B", "t2v-A14B")]

    assert before.missing == ("Wan2.2-S2V-14B/config.json is missing",)
    assert not was_asked
    assert asked.read_text() == "once\n"
    assert "flash_attn" in lacking[0][-1]


def test_a_home_without_generate_py_and_a_missing_interpreter_are_told(tmp_path: Path) -> None:
    bench = Bench(tmp_path, python="no-such-python")
    (bench.home / "generate.py").unlink()

    state = bench.engine.readiness("t2v-A14B")

    assert len(state.missing) == 2
    assert "WAN_HOME" in state.missing[0]
    assert "no-such-python" in state.missing[1]


def test_capabilities_cover_every_task_and_promise_nothing_more() -> None:
    assert CAPABILITIES.tasks == set(TASKS) - {"vace-A14B", "v2v-A14B", "animate2-14B"}
    assert {task: len(sizes) for task, sizes in CAPABILITIES.sizes.items()} == {
        "t2v-A14B": 4, "i2v-A14B": 4, "ti2v-5B": 2, "s2v-14B": 8, "animate-14B": 2,
    }  # fmt: skip
    assert not (CAPABILITIES.negative_prompt)
    assert not (CAPABILITIES.fps)
    assert not (CAPABILITIES.lora)
    assert not (CAPABILITIES.last_image)


async def test_settings_build_an_engine_that_renders(tmp_path: Path) -> None:
    home, models = make_home(tmp_path)
    engine = WanCli.from_settings(Settings(wan_home=home, ckpt_dir=models, wan_python=Path(sys.executable)))

    rendered = await engine.render(make_spec(), tmp_path / "out.mp4", work_dir=tmp_path, report=lambda _: None)
    await engine.close()

    assert rendered.model == "Wan2.2-T2V-A14B"
    assert (tmp_path / "out.mp4").is_file()
