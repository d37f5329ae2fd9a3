"""Two jobs that want one file name at the same time: each has its own file in the end, or one is refused."""

import asyncio
import dataclasses
import errno
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fakes.engine import ScriptedEngine, write_clip
from fakes.renderer import SPEC, prepare
from fakes.volumes import Refusals, Volume
from wanworker.engines.base import Rendered
from wanworker.engines.registry import EngineRegistry
from wanworker.errors import RequestIdReused
from wanworker.jobs.model import JobStatus
from wanworker.jobs.output_paths import OutputPaths
from wanworker.jobs.store.job_store import JobRequest, JobStore
from wanworker.planning.fitting import PreparedSpec
from wanworker.render import Limits, Renderer, RenderRequest
from wanworker.spec import GraphSpec


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4")


@pytest.fixture
def other_clip(tmp_path):
    return write_clip(tmp_path / "other.mp4", frames=9)


@dataclasses.dataclass
class GraphRunner(ScriptedEngine):
    """An engine whose graph saves its clip as `b.mp4`."""

    async def run_graph(self, spec, out_dir, *, work_dir, report):
        return Rendered("comfyui", files=(Path(shutil.copyfile(self.clip, out_dir / "b.mp4")),))


@pytest.fixture
def worker(settings):
    """Make a renderer of a worker of its own; all of them share the volume."""

    def make(engine, name="diffusers"):
        return Renderer(
            store=JobStore(settings.jobs_dir),
            registry=EngineRegistry((engine.row(name),), settings),
            out_dir=settings.out_dir,
            models_dir="",
            mini_allowed=True,
            limits=Limits(min_free_bytes=0, heartbeat_s=60.0),
        )

    return make


def to_be_rendered(request_id, **changes):
    return RenderRequest(JobRequest(request_id, "generate", "a" * 64), "auto", 60, prepare, draft=SPEC, **changes)


def graph_to_be_rendered(request_id):
    async def ready(_folder):
        return PreparedSpec(GraphSpec({}))

    return RenderRequest(JobRequest(request_id, "comfyui_workflow", "b" * 64), "comfyui", 60, ready)


async def rendered(renderer, to_render):
    return await renderer.render(to_render, lambda _progress: None)


class Held:
    """Hold a render after its checks, when its engine makes output *number*, until `go`."""

    def __init__(self, clip, number=1):
        self.reached, self.go = asyncio.Event(), asyncio.Event()
        self.engine = ScriptedEngine(clip, self._act)
        self._clip, self._number = clip, number

    async def _act(self, _spec, out_path, _report):
        if len(self.engine.seen) == self._number:
            self.reached.set()
            await self.go.wait()
        shutil.copyfile(self._clip, out_path)


def names_in(folder):
    return sorted(path.name for path in folder.iterdir() if path.is_file())


@pytest.mark.parametrize("suffix", [".mp4", "_i2v_output.mp4"])
async def test_a_graph_gets_no_name_that_a_render_is_about_to_use(settings, worker, clip, other_clip, suffix):
    name = suffix.removesuffix(".mp4")
    stem = f"a_b{name}"
    settings.out_dir.mkdir(parents=True)
    (settings.out_dir / f"{stem}.1.mp4").write_bytes(b"of an earlier graph")
    held = Held(clip)
    rendering = asyncio.create_task(rendered(worker(held.engine), to_be_rendered("a_b", num_outputs=2, suffix=suffix)))
    await held.reached.wait()

    class Graph(GraphRunner):
        async def run_graph(self, spec, out_dir, *, work_dir, report):
            made = await super().run_graph(spec, out_dir, work_dir=work_dir, report=report)
            return dataclasses.replace(made, files=(made.files[0].rename(out_dir / f"b{name}.mp4"),))

    graph = await rendered(worker(Graph(other_clip), "comfyui"), graph_to_be_rendered("a"))
    held.go.set()
    render = await rendering

    (of_graph,) = (Path(output.path) for output in graph.outputs)
    of_render = [Path(output.path) for output in render.outputs]
    assert [path.name for path in of_render] == [f"{stem}.mp4", f"{stem}.2.mp4"]
    assert (of_graph.read_bytes(), of_graph.name) == (other_clip.read_bytes(), f"{stem}.1.2.mp4")
    assert {path.read_bytes() for path in of_render} == {clip.read_bytes()}


async def test_a_name_that_was_taken_during_the_render_is_neither_written_over_nor_removed(settings, worker, clip):
    held = Held(clip)
    rendering = asyncio.create_task(rendered(worker(held.engine), to_be_rendered("job-1")))
    await held.reached.wait()
    (settings.out_dir / "job-1.mp4").write_bytes(b"another job's")
    held.go.set()

    with pytest.raises(RequestIdReused, match=r"'job-1' would overwrite .*/job-1\.mp4, which another job made"):
        await rendering

    assert (settings.out_dir / "job-1.mp4").read_bytes() == b"another job's"
    assert names_in(settings.out_dir) == ["job-1.mp4"]


async def test_the_outputs_before_a_taken_name_are_kept(settings, worker, clip):
    held = Held(clip, number=2)
    rendering = asyncio.create_task(rendered(worker(held.engine), to_be_rendered("job-1", num_outputs=3)))
    await held.reached.wait()
    (settings.out_dir / "job-1.2.mp4").write_bytes(b"another job's")
    held.go.set()
    job = await rendering

    assert [Path(output.path).name for output in job.outputs] == ["job-1.mp4"]
    assert {failed.error.code for failed in job.failed_outputs} == {"REQUEST_ID_REUSED"}
    assert (settings.out_dir / "job-1.2.mp4").read_bytes() == b"another job's"


async def test_a_later_attempt_takes_the_place_of_what_an_earlier_one_left(settings, worker, clip):
    store = JobStore(settings.jobs_dir)
    store.update(store.claim(to_be_rendered("job-1").job).job, status=JobStatus.CANCELLED)
    (settings.out_dir / "job-1.mp4").write_bytes(b"what it left")

    job = await rendered(worker(ScriptedEngine(clip)), to_be_rendered("job-1"))

    assert (job.attempt, Path(job.outputs[0].path).read_bytes()) == (2, clip.read_bytes())


@pytest.mark.parametrize("knows_links", [True, False])
def test_of_two_that_want_one_name_one_gets_it(tmp_path, knows_links):
    """The first is held right before its file gets the name. The second comes meanwhile, and after it."""
    reached, gate = threading.Event(), threading.Event()

    class Without(Volume):
        def link(self, source, target):
            if not knows_links:
                raise OSError(errno.EOPNOTSUPP, "no links here")
            super().link(source, target)

    def hold(call):
        if call == "rename":
            reached.set()
            assert gate.wait(30)

    first, second = tmp_path / ".a-1.part.mp4", tmp_path / ".b-1.part.mp4"
    first.write_bytes(b"first")
    second.write_bytes(b"second")
    with ThreadPoolExecutor(1) as threads:
        place = OutputPaths(tmp_path, "a", 1, ".mp4")
        slow = threads.submit(place.put_graph_file, first, "clip.png", Without(hold))
        assert reached.wait(30)
        quick = place.put_graph_file(second, "clip.png", Without(Refusals()))
        gate.set()
        made = {slow.result(30).path.name: b"first", quick.path.name: b"second"}

    assert sorted(made) == ["a_clip.1.png", "a_clip.2.png"] == names_in(tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in made} == made


def test_a_file_that_a_later_attempt_put_there_is_not_removed_for_an_earlier_one(tmp_path):
    first, second = (OutputPaths(tmp_path, "a", attempt, ".mp4") for attempt in (1, 2))
    first.part.write_bytes(b"of the first")
    second.part.write_bytes(b"of the second")
    placed = first.put(first.part)
    after = second.put(second.part)
    placed.remove()

    assert {name: (tmp_path / name).read_bytes() for name in names_in(tmp_path)} == {"a.mp4": b"of the second"}
    after.remove()
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("error_number", [errno.ENOSPC, errno.EROFS])
def test_a_volume_without_links_that_takes_no_file_keeps_no_empty_one(tmp_path, error_number):
    refusals = Refusals()
    refusals.refuse(error_number, "rename")
    place = OutputPaths(tmp_path, "a", 1, ".mp4")
    place.part.write_bytes(b"a video")
    with pytest.raises(OSError, match=os.strerror(error_number)):
        place.put(place.part, Volume(refusals))

    assert names_in(tmp_path) == [place.part.name]
