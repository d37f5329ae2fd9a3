"""A render on a volume that fails in mid-job, and one request in many hands at once."""

import asyncio
import contextlib
import dataclasses
import errno
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fakes.engine import ScriptedEngine, write_clip
from fakes.other_workers import Beats
from fakes.renderer import prepare
from fakes.volumes import CALLS, Refusals, Volume
from wanworker.engines.registry import EngineRegistry
from wanworker.errors import DiskFull, EngineFailed
from wanworker.jobs.model import JobStatus
from wanworker.jobs.store.job_store import JobRequest, JobStore
from wanworker.progress import Progress
from wanworker.render import Limits, Renderer, RenderRequest
from wanworker.settings import child_environment

TO_RENDER = RenderRequest(JobRequest("job-1", "generate", "a" * 64), "auto", 60, prepare)
ERRORS = [errno.ENOSPC, errno.EDQUOT, errno.EROFS]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4")


@dataclasses.dataclass
class Place:
    """A renderer over a volume, with a store whose heartbeat a test drives."""

    engine: ScriptedEngine
    store: JobStore
    renderer: Renderer
    beats: Beats

    async def render(self):
        return await self.renderer.render(TO_RENDER, lambda _progress: None)


@pytest.fixture
def place(make_settings, clip):
    def make(out_dir=None, before=lambda _call: None, heartbeat_s=0.05):
        settings = make_settings(**({} if out_dir is None else {"out_dir": out_dir}))
        engine, beats = ScriptedEngine(clip), Beats()
        store = JobStore(settings.jobs_dir, files=Volume(before), in_background=beats)
        renderer = Renderer(
            store=store,
            registry=EngineRegistry((engine.row(),), settings),
            out_dir=settings.out_dir,
            models_dir="",
            mini_allowed=True,
            limits=Limits(min_free_bytes=0, heartbeat_s=heartbeat_s, wait_step_s=0.01),
        )
        return Place(engine, store, renderer, beats)

    return make


@pytest.mark.parametrize("error_number", ERRORS)
@pytest.mark.parametrize("call", CALLS)
async def test_a_video_is_not_lost_because_its_record_cannot_be_written(place, settings, clip, call, error_number):
    volume = Refusals()
    place = place(before=volume)

    def act(_spec, path, _report):
        shutil.copyfile(clip, path)
        volume.refuse(error_number, call)

    place.engine.act = act
    job = await place.render()
    told = place.store.find("job-1")
    again = await place.render()
    volume.refuse(0)
    place.beats.beat()

    assert (job.status, told, again) == (JobStatus.COMPLETED, job, job)
    assert JobStore(settings.jobs_dir).find("job-1") == job
    assert len(place.engine.seen) == 1


@pytest.mark.parametrize("error_number", ERRORS)
async def test_an_engine_that_cannot_write_its_video_is_a_full_disk(place, settings, error_number):
    volume = Refusals()
    place = place(before=volume)

    def act(_spec, _path, _report):
        volume.refuse(error_number, *CALLS)
        raise OSError(error_number, os.strerror(error_number))

    place.engine.act = act
    with pytest.raises(DiskFull, match=r"the output in .*: the disk"):
        await place.render()
    told = place.store.find("job-1")
    volume.refuse(0)
    place.beats.beat()

    assert (told.status, told.error.code) == (JobStatus.ERROR, "DISK_FULL")
    assert JobStore(settings.jobs_dir).find("job-1") == told


async def test_a_failure_on_a_full_disk_is_told_as_what_it_was(place, settings):
    volume = Refusals()
    place = place(before=volume)

    def act(_spec, _path, _report):
        volume.refuse(errno.ENOSPC, *CALLS)
        raise EngineFailed("the card fell out")

    place.engine.act = act
    with pytest.raises(EngineFailed, match="the card fell out"):
        await place.render()

    assert place.store.find("job-1").error.code == "ENGINE_FAILED"


@pytest.fixture
def tmpfs(tmp_path):
    """Mount a volume of 4 MiB, where the machine allows it."""
    folder = tmp_path / "volume"
    folder.mkdir()
    try:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], capture_output=True)
    except FileNotFoundError:
        pytest.skip("needs mount")
    if mounted.returncode != 0:
        pytest.skip("needs the right to mount")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def remount(folder, mode):
    subprocess.run(["mount", "-o", f"remount,{mode}", folder], check=True)


def fill(path):
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 4096)


async def test_a_volume_that_really_fills_up(place, tmpfs):
    place = place(out_dir=tmpfs / "outputs")

    def act(_spec, path, _report):
        fill(tmpfs / "filler")
        path.write_bytes(b"\0" * 8192)

    place.engine.act = act
    with pytest.raises(DiskFull, match="No space left"):
        await place.render()
    told = place.store.find("job-1")
    before = JobStore(tmpfs / "outputs/jobs").find("job-1").status
    (tmpfs / "filler").unlink()
    place.beats.beat()

    assert (told.status, told.error.code, before) == (JobStatus.ERROR, "DISK_FULL", JobStatus.RUNNING)
    assert JobStore(tmpfs / "outputs/jobs").find("job-1") == told


@pytest.mark.parametrize("has_written", [False, True])
async def test_a_volume_that_really_turns_read_only(place, tmpfs, clip, has_written):
    place = place(out_dir=tmpfs / "outputs")

    def act(_spec, path, _report):
        if has_written:
            shutil.copyfile(clip, path)
        remount(tmpfs, "ro")
        if not has_written:
            shutil.copyfile(clip, path)

    place.engine.act = act
    with pytest.raises(DiskFull, match="read-only"):
        await place.render()
    told = place.store.find("job-1")
    with pytest.raises(DiskFull, match="read-only"):
        await place.render()
    remount(tmpfs, "rw")
    place.beats.beat()

    assert (told.status, told.error.code) == (JobStatus.ERROR, "DISK_FULL")
    assert JobStore(tmpfs / "outputs/jobs").find("job-1") == told


def test_one_request_fifty_times_at_once_in_two_processes_is_rendered_once(tmp_path, clip):
    program = Path(__file__).with_name("fakes") / "renderer.py"
    environment = {**child_environment(), "PYTHONPATH": os.pathsep.join(sys.path)}
    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, program, tmp_path, clip, "25"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    env=environment,
                )
            )
            for _ in range(2)
        ]
        assert [process.stdout.readline() for process in processes] == ["ready\n"] * 2
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        ends = [end for process in processes for end in json.loads(process.stdout.readline())]

    assert ends == [["COMPLETED", 1, str(tmp_path / "outputs/job-1.mp4")]] * 50
    assert (tmp_path / "renders").read_text() == "rendered\n"


class SlowVolume:
    """Hold each call that changes the volume at a gate, once it is told to; a call that was held too long fails."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.held = threading.Event()

    def __call__(self, _call: str) -> None:
        if not self.gate.is_set():
            self.held.set()
            assert self.gate.wait(30), "nobody opened the gate"


async def until(event: threading.Event) -> None:
    """Wait in the event loop, which has to run for that, until *event* is set."""
    async with asyncio.timeout(20):
        while not event.is_set():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("moment", ["claim", "heartbeat", "end"])
async def test_a_slow_volume_does_not_stop_the_event_loop(place, moment):
    volume = SlowVolume()
    place = place(before=volume, heartbeat_s=0.05 if moment == "heartbeat" else 1000)

    async def act(_spec, path, report):
        if moment == "heartbeat":
            volume.gate.clear()
            report(Progress("sampling", 0.7, 1, 2, 1.0))
            await until(volume.held)
            volume.gate.set()
        shutil.copyfile(place.engine.clip, path)
        if moment == "end":
            volume.gate.clear()

    place.engine.act = act
    if moment == "claim":
        volume.gate.clear()
    rendering = asyncio.create_task(place.render())
    await until(volume.held)
    volume.gate.set()

    assert (await rendering).status is JobStatus.COMPLETED


async def test_a_job_that_is_cancelled_in_its_claim_leaves_no_open_record(place):
    volume = SlowVolume()
    place = place(before=volume)
    volume.gate.clear()
    rendering = asyncio.create_task(place.render())
    await until(volume.held)
    rendering.cancel()
    volume.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await rendering

    assert place.store.find("job-1").status is JobStatus.CANCELLED
    assert place.engine.seen == []


async def test_a_job_that_is_cancelled_while_its_end_is_written_is_completed_all_the_same(place):
    volume = SlowVolume()
    place = place(before=volume, heartbeat_s=1000)  # so that the end is the first write after the gate is closed

    def act(_spec, path, _report):
        shutil.copyfile(place.engine.clip, path)
        volume.gate.clear()

    place.engine.act = act
    rendering = asyncio.create_task(place.render())
    await until(volume.held)
    rendering.cancel()
    volume.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await rendering

    told = place.store.find("job-1")
    assert told.status is JobStatus.COMPLETED
    assert Path(told.outputs[0].path).is_file()


@pytest.mark.parametrize("leaves", ["nothing", "the empty folder on which it was mounted"])
async def test_a_volume_that_is_gone_is_told_and_nothing_is_made_in_its_place(place, settings, clip, tmp_path, leaves):
    place = place()
    away = tmp_path / "away"

    def act(_spec, path, _report):
        settings.out_dir.rename(away)
        if leaves != "nothing":
            settings.out_dir.mkdir()
        shutil.copyfile(clip, path)

    place.engine.act = act
    with pytest.raises(DiskFull, match="is gone: its volume was unmounted or moved away"):
        await place.render()
    told = place.store.find("job-1")
    with pytest.raises(DiskFull, match="is gone: its volume was unmounted or moved away"):
        await place.renderer.render(
            dataclasses.replace(TO_RENDER, job=dataclasses.replace(TO_RENDER.job, request_id="job-2")),
            lambda _: None,
        )
    if leaves != "nothing":
        assert list(settings.out_dir.iterdir()) == []
        settings.out_dir.rmdir()
    assert not settings.out_dir.exists()
    away.rename(settings.out_dir)
    place.beats.beat()

    assert (told.status, told.error.code) == (JobStatus.ERROR, "DISK_FULL")
    assert JobStore(settings.jobs_dir).find("job-1") == told
