"""Videos that have had their time go; everything that no record of ours names stays."""

import asyncio
import dataclasses

import pytest

from fakes.other_workers import Clock
from wanworker.jobs.model import JobStatus, Output
from wanworker.jobs.store.job_store import JobRequest, JobStore
from wanworker.rest.service.executor import ACTION
from wanworker.rest.service.retention import Sweeper


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(settings, clock):
    return JobStore(settings.jobs_dir, clock=clock)


@pytest.fixture
def finish(settings, store, clock):
    """Return a function that records a finished job with a video of so many bytes."""

    def make(name, *, size_bytes=100, action=ACTION, after_s=1.0):
        clock.now += after_s
        settings.out_dir.mkdir(exist_ok=True)
        path = settings.out_dir / f"{name}.mp4"
        path.write_bytes(bytes(size_bytes))
        claim = store.claim(JobRequest(name, action, "hash"))
        output = Output(str(path), "video", "video/mp4", size_bytes, "0" * 64)
        return store.update(claim.job, status=JobStatus.COMPLETED, outputs=(output,))

    return make


def sweeper(store, clock, *jobs, ttl_s=0.0, quota_bytes=None):
    made = Sweeper(store, ttl_s=ttl_s, quota_bytes=quota_bytes, clock=clock)
    for job in jobs:
        made.add(job)
    return made


def names(settings):
    return sorted(path.stem for path in settings.out_dir.glob("*.mp4"))


def test_a_video_goes_when_its_time_is_over_and_its_record_stays(settings, store, clock, finish):
    old, young = finish("old"), finish("young", after_s=50)
    clock.now += 60
    swept = sweeper(store, clock, old, young, ttl_s=100).sweep()

    assert ["old"] == swept
    assert ["young"] == names(settings)
    assert JobStatus.COMPLETED is store.find("old").status


def test_the_oldest_go_first_until_the_rest_fits(settings, store, clock, finish):
    jobs = [finish(name) for name in ("a", "b", "c", "d")]
    swept = sweeper(store, clock, *reversed(jobs), quota_bytes=250).sweep()

    assert ["a", "b"] == swept
    assert ["c", "d"] == names(settings)


def test_without_limits_everything_stays(settings, store, clock, finish):
    made = sweeper(store, clock, finish("a"))
    clock.now += 1e9

    assert [] == made.sweep()
    assert ["a"] == names(settings)


def test_jobs_of_other_doors_and_files_of_the_user_stay(settings, store, clock, finish):
    made = sweeper(store, clock, finish("theirs", action="generate"), ttl_s=1, quota_bytes=1)
    (settings.out_dir / "holiday.mp4").write_bytes(b"mine")
    clock.now += 100

    assert [] == made.sweep()
    assert ["holiday", "theirs"] == names(settings)


def test_a_video_that_is_gone_already_counts_no_more(settings, store, clock, finish):
    gone, here = finish("gone"), finish("here")
    (settings.out_dir / "gone.mp4").unlink()

    assert [] == sweeper(store, clock, gone, here, quota_bytes=150).sweep()


async def test_a_video_that_the_volume_cannot_look_at_keeps_no_other_one(settings, store, clock, finish):
    old = finish("old")
    output = dataclasses.replace(old.outputs[0], path=str(settings.out_dir / ("x" * 300)))  # as EIO or ESTALE
    odd = store.update(
        store.claim(JobRequest("odd", ACTION, "hash")).job, status=JobStatus.COMPLETED, outputs=(output,)
    )
    clock.now += 60
    swept = sweeper(store, clock, odd, old, ttl_s=50).sweep()

    assert {"old", "odd"} == set(swept)
    assert [] == names(settings)


async def test_a_sweep_that_fails_is_not_the_last_one(store, clock):
    swept = asyncio.Event()

    class Failing(Sweeper):
        """Sweep never."""

        def sweep(self):
            if self._every_s:
                self._every_s = 0.0
                raise OSError("the volume has an error")
            loop.call_soon_threadsafe(swept.set)

    loop = asyncio.get_running_loop()
    watching = asyncio.create_task(Failing(store, ttl_s=1, quota_bytes=None, every_s=0.001, clock=clock).watch())
    async with asyncio.timeout(10):
        await swept.wait()
    watching.cancel()


async def test_what_an_earlier_process_left_is_swept_too(serve, settings, store, finish):
    finish("left", after_s=-10_000_000)
    finish("fresh", after_s=1e9)
    async with serve(output_ttl_s=3600) as rest:
        status = await rest.status("left")
        while status["video_ready"]:
            status = await rest.status("left")

    assert ["fresh"] == names(settings)
    assert "completed" == status["status"]
