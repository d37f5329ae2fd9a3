"""What a job leaves in the output folder when it is called off while its finished files are moved there."""

import asyncio
import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from fakes.engine import ScriptedEngine, write_clip
from fakes.renderer import SPEC, prepare
from wanworker.app import Worker
from wanworker.deadline import Deadline
from wanworker.engines.base import Rendered
from wanworker.engines.registry import EngineRegistry
from wanworker.jobs._owner import Owner
from wanworker.jobs.model import JobStatus
from wanworker.jobs.output_paths import OutputPaths
from wanworker.jobs.store.job_store import JobRequest, JobStore
from wanworker.output_files import render_to_files
from wanworker.render import Limits, Renderer, RenderRequest
from wanworker.spec import GraphSpec

TO_RENDER = RenderRequest(JobRequest("job-1", "generate", "a" * 64), "auto", 60, prepare, draft=SPEC)


class HoldingThreads(ThreadPoolExecutor):
    """Threads for blocking calls. The end of call *number* of those that end while *path* has bytes is held."""

    def __init__(self, path, number):
        super().__init__()
        self.reached, self.go = threading.Event(), threading.Event()
        self._path, self._left = path, number

    def submit(self, work, /, *args, **kwargs):
        def held():
            try:
                return work(*args, **kwargs)
            finally:
                self._left -= self._path.is_file() and self._path.stat().st_size > 0
                if not self._left and not self.reached.is_set():
                    self.reached.set()
                    assert self.go.wait(30)

        return super().submit(held)


async def cancelled_at(path, number, work):
    """Cancel *work* in the midst of a call in a thread, see HoldingThreads, and return its result, or None."""
    threads = HoldingThreads(path, number)
    asyncio.get_running_loop().set_default_executor(threads)
    task = asyncio.ensure_future(work)
    with ThreadPoolExecutor(1) as watcher:
        assert await asyncio.get_running_loop().run_in_executor(watcher, threads.reached.wait, 30)
    task.cancel()
    threads.go.set()
    (outcome,) = await asyncio.gather(task, return_exceptions=True)
    return None if isinstance(outcome, asyncio.CancelledError) else outcome


def files_in(folder):
    return sorted(path.name for path in folder.iterdir() if path.is_file())


@pytest.mark.parametrize(("call", "is_kept"), [(1, False), (2, False), (3, False), (4, True)])
async def test_a_job_that_is_cancelled_has_its_video_in_its_record_or_none(settings, tmp_path, call, is_kept):
    store = JobStore(settings.jobs_dir)
    renderer = Renderer(
        store=store,
        registry=EngineRegistry((ScriptedEngine(write_clip(tmp_path / "clip.mp4")).row(),), settings),
        out_dir=settings.out_dir,
        models_dir="",
        mini_allowed=True,
        limits=Limits(min_free_bytes=0, heartbeat_s=60.0),
    )
    await cancelled_at(settings.out_dir / "job-1.mp4", call, renderer.render(TO_RENDER, lambda _progress: None))
    job = store.find("job-1")

    assert files_in(settings.out_dir) == [output.path.rpartition("/")[2] for output in job.outputs]
    assert (job.status is JobStatus.COMPLETED) is is_kept


@dataclasses.dataclass
class GraphRunner(ScriptedEngine):
    """An engine whose graph makes two pictures; `spoiled` comes before they are handed over."""

    spoiled: object = None

    async def run_graph(self, spec, out_dir, *, work_dir, report):
        files = (out_dir / "one.png", out_dir / "two.png")
        for path in files:
            path.write_bytes(b"a picture")
        if self.spoiled:
            self.spoiled(files)
        return Rendered("comfyui", files=files)


async def run_graph(tmp_path, spoiled=None):
    place = OutputPaths(tmp_path / "outputs", "job-1", 1, ".mp4")
    engine = GraphRunner(tmp_path, spoiled=spoiled)
    return await render_to_files(engine, GraphSpec({}), place, tmp_path, lambda _: None, Deadline(60))


@pytest.mark.parametrize("name", ["one", "two"])
@pytest.mark.parametrize("call", [1, 2])
async def test_a_graph_that_is_cancelled_leaves_none_of_its_files(tmp_path, name, call):
    (tmp_path / "outputs").mkdir()
    await cancelled_at(tmp_path / "outputs" / f"job-1_{name}.1.png", call, run_graph(tmp_path))

    assert files_in(tmp_path / "outputs") == []


async def test_a_graph_whose_second_file_is_lost_leaves_none_of_its_files(tmp_path):
    (tmp_path / "outputs").mkdir()
    with pytest.raises(FileNotFoundError):
        await run_graph(tmp_path, spoiled=lambda files: files[1].unlink())

    assert files_in(tmp_path / "outputs") == []


def test_what_a_killed_worker_left_half_made_goes_when_its_job_is_given_up(make_settings, tmp_path):
    worker = Worker(make_settings(out_dir=tmp_path))
    killed = dataclasses.replace(Owner.of_this_process(), pid=2**31 - 1)  # no system has so many processes
    before = JobStore(tmp_path / "jobs", owner=lambda: killed, in_background=lambda _work, _every_s: None)
    before.claim(TO_RENDER.job)
    place = OutputPaths(tmp_path, "job-1", 1, ".mp4")
    for path in place.half_made[1:]:
        path.write_bytes(b"half a video")
    place.part.mkdir()
    (place.part / "one.png").write_bytes(b"of a graph")
    others = [".job-1-2.part.mp4", ".job-10-1.part.mp4", "job-1.mp4"]
    for name in others:
        (tmp_path / name).write_bytes(b"of another attempt")

    assert worker.store.find("job-1").was_interrupted
    assert files_in(tmp_path) == sorted(others)
    assert not place.part.exists()
