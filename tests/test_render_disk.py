"""A render on a volume that fails in mid-job, and one request in many hands at once."""

import contextlib
import dataclasses
import errno
import json
import os
import shutil
import subprocess
import sys
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
from wanworker.render import Limits, Renderer, RenderRequest
from wanworker.settings import child_environment

ORDER = RenderRequest(JobRequest("job-1", "generate", "a" * 64), "auto", 60, prepare)
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
        return await self.renderer.render(ORDER, lambda _progress: None)


@pytest.fixture
def place(make_settings, clip):
    def make(out_dir=None, before=lambda _call: None):
        settings = make_settings(**({} if out_dir is None else {"out_dir": out_dir}))
        engine, beats = ScriptedEngine(clip), Beats()
        store = JobStore(settings.jobs_dir, files=Volume(before), in_background=beats)
        renderer = Renderer(
            store=store,
            registry=EngineRegistry((engine.row(),), settings),
            out_dir=settings.out_dir,
            models_dir="",
            mini_allowed=True,
            limits=Limits(min_free_bytes=0, heartbeat_s=0.05, wait_step_s=0.01),
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
