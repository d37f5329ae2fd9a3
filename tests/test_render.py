"""One job from spec to verified file: its record, its deadline, its cancellation, and what failures leave behind."""

import asyncio
import dataclasses
import shutil

import pytest
from PIL import Image

from fakes.engine import ScriptedEngine, write_clip
from loop_watch import blocking_calls
from wanworker.engines.base import Readiness
from wanworker.engines.registry import EngineRegistry
from wanworker.errors import (
    DiskFull,
    EngineFailed,
    EngineTimeout,
    InputUnavailable,
    Interrupted,
    InvalidRequest,
    ModelNotFound,
    NoOutput,
    RequestIdReused,
)
from wanworker.jobs.model import JobStatus
from wanworker.jobs.output_paths import OutputPaths
from wanworker.jobs.store.job_store import JobRequest, JobStore
from wanworker.planning.fitting import PreparedSpec
from wanworker.progress import Progress
from wanworker.render import Limits, Renderer, RenderRequest
from wanworker.spec import RenderSpec, Size

SPEC = RenderSpec(
    task="t2v-A14B", prompt="a cat", size=Size(64, 48), size_given=True, fps=8, fps_given=True, seed=7, frames=5
)
REQUEST = JobRequest(request_id="job-1", action="generate", spec_hash="a" * 64, prompt="a cat")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4")


@pytest.fixture
def engine(clip):
    return ScriptedEngine(clip)


@pytest.fixture
def store(settings):
    return JobStore(settings.jobs_dir)


@pytest.fixture
def make_renderer(settings, engine, store):
    def make(**changes):
        limits = Limits(**{"heartbeat_s": 0.02, "wait_step_s": 0.01, **changes})
        return Renderer(
            store=store,
            registry=EngineRegistry((engine.row(),), settings),
            out_dir=settings.out_dir,
            models_dir=str(settings.ckpt_dir),
            mini_allowed=True,
            limits=limits,
        )

    return make


@pytest.fixture
def renderer(make_renderer):
    return make_renderer()


def to_render(request=REQUEST, *, spec=SPEC, timeout_s=20, engine="auto", warnings=(), prepare=None):
    async def ready(_folder):
        return PreparedSpec(spec, warnings)

    return RenderRequest(job=request, engine=engine, timeout_s=timeout_s, prepare=prepare or ready, draft=spec)


def files_in(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


async def render(renderer, to_render):
    seen = []
    return await renderer.render(to_render, seen.append), seen


async def hang(_spec, out_path, _report):
    out_path.write_bytes(b"half a file")
    await asyncio.Event().wait()


async def test_a_finished_job_is_recorded_with_the_facts_of_its_file(renderer, settings, store):
    job, seen = await render(renderer, to_render(warnings=("a word from the door",)))

    output = job.outputs[0]
    assert job == store.find("job-1")
    assert (job.status, job.attempt, job.seed) == (JobStatus.COMPLETED, 1, 7)
    assert (job.engine, job.model) == ("diffusers", "scripted-1")
    assert job.warnings == ("a word from the door", "a word from the engine")
    assert (output.width, output.height, output.frames, output.fps) == (64, 48, 5, 8.0)
    assert str(settings.out_dir / "job-1.mp4") == output.path
    assert {"prepare_s", "load_s", "render_s", "total_s"} == set(job.timings)
    assert [progress.fraction for progress in seen] == [0.0, 0.5]


async def test_the_files_of_a_job_are_made_and_removed_beside_the_event_loop(renderer, engine, clip):
    async def copy(_spec, out_path, _report):
        await asyncio.to_thread(shutil.copyfile, clip, out_path)

    engine.act = copy
    await render(renderer, to_render())
    again = to_render(dataclasses.replace(REQUEST, request_id="job-2"))
    with blocking_calls() as blocking:
        await render(renderer, again)

    assert [] == blocking


async def test_the_same_request_again_answers_from_the_store(renderer, engine):
    first, _ = await render(renderer, to_render())
    second, _ = await render(renderer, to_render())

    assert first == second
    assert len(engine.seen) == 1


async def test_another_request_under_a_used_id_is_refused(renderer):
    await render(renderer, to_render())

    with pytest.raises(RequestIdReused):
        await render(renderer, to_render(dataclasses.replace(REQUEST, spec_hash="b" * 64)))


async def test_a_failed_job_is_rendered_again_as_the_next_attempt(renderer, engine):
    engine.act = lambda *_: (_ for _ in ()).throw(EngineFailed("the card fell out"))
    with pytest.raises(EngineFailed):
        await render(renderer, to_render())
    engine.act = None
    job, _ = await render(renderer, to_render())

    assert (job.status, job.attempt) == (JobStatus.COMPLETED, 2)


async def test_the_deadline_stops_the_engine_and_is_recorded(renderer, engine, store, settings):
    engine.act = hang
    # The engine begins within this time on a disk that takes its time, too.
    with pytest.raises(EngineTimeout, match=r"^Execution did not complete within 3s$"):
        await render(renderer, to_render(timeout_s=3))

    job = store.find("job-1")
    assert engine.stopped
    assert (job.status, job.error.code) == (JobStatus.TIMEOUT, "ENGINE_TIMEOUT")
    assert list(settings.out_dir.glob("*.mp4")) + list(settings.out_dir.glob(".*.mp4")) == []


async def test_cancelling_stops_the_engine_and_leaves_no_half_file(renderer, engine, store, settings):
    engine.act = hang
    rendering = asyncio.create_task(render(renderer, to_render()))
    while not engine.seen:
        await asyncio.sleep(0)
    rendering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await rendering

    assert engine.stopped
    assert JobStatus.CANCELLED is store.find("job-1").status
    assert list(settings.out_dir.glob("*.mp4")) + list(settings.out_dir.glob(".*.mp4")) == []


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(lambda *_: None, id="no-file"),
        pytest.param(lambda _spec, path, _report: path.write_bytes(b""), id="empty-file"),
        pytest.param(lambda _spec, path, _report: path.write_text("not a video"), id="text"),
    ],
)
async def test_success_without_a_usable_file_is_no_output(renderer, engine, store, act):
    engine.act = act
    with pytest.raises(NoOutput):
        await render(renderer, to_render())

    assert JobStatus.NO_OUTPUT is store.find("job-1").status


async def test_a_file_cut_in_half_is_no_output(renderer, engine, store, clip):
    engine.act = lambda _spec, path, _report: path.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    with pytest.raises(NoOutput):
        await render(renderer, to_render())

    assert JobStatus.NO_OUTPUT is store.find("job-1").status


async def test_a_link_in_place_of_the_file_is_no_output(renderer, settings, engine, store, clip):
    engine.act = lambda _spec, path, _report: path.symlink_to(clip)
    with pytest.raises(NoOutput, match="left a link in place of a file"):
        await render(renderer, to_render())

    assert JobStatus.NO_OUTPUT is store.find("job-1").status
    assert clip.exists()


async def test_an_unforeseen_failure_is_recorded_without_its_text(renderer, engine, store):
    engine.act = lambda *_: (_ for _ in ()).throw(ValueError("secret path"))
    with pytest.raises(ValueError, match="secret path"):
        await render(renderer, to_render())

    error = store.find("job-1").error
    assert error.code == "INTERNAL"
    assert "secret" not in error.text


async def test_an_input_that_cannot_be_had_leaves_nothing_on_disk(renderer, settings, engine):
    folders = []

    async def broken(folder):
        folders.append(folder)
        (folder / "half.png").write_bytes(b"half")
        raise InputUnavailable("reference image: it is a text file.")

    with pytest.raises(InputUnavailable):
        await render(renderer, to_render(prepare=broken))

    assert engine.seen == []
    assert not folders[0].exists()
    assert not settings.out_dir.exists()


async def test_an_unknown_engine_starts_nothing(renderer, settings):
    with pytest.raises(InvalidRequest, match="Unknown engine 'warp'; known: auto, diffusers"):
        await render(renderer, to_render(engine="warp"))

    assert not settings.out_dir.exists()


async def test_missing_weights_start_nothing(renderer, engine, settings):
    engine.state = Readiness(missing=("no folder",))
    with pytest.raises(ModelNotFound):
        await render(renderer, to_render())

    assert not settings.out_dir.exists()


async def test_a_full_disk_is_found_before_the_engine_is_used(make_renderer, engine, settings):
    with pytest.raises(DiskFull, match="a render needs 1099511627776 MiB"):
        await render(make_renderer(min_free_bytes=2**60), to_render())

    assert engine.seen == []
    assert files_in(settings.out_dir) == []


async def test_a_live_attempt_elsewhere_is_waited_for(renderer, store, engine, clip):
    elsewhere = store.claim(REQUEST).job
    told, waits = [], asyncio.Event()

    def hear(progress):
        told.append(progress)
        waits.set()

    waiting = asyncio.create_task(renderer.render(to_render(), hear))
    await asyncio.wait_for(waits.wait(), 10)  # the first word comes at once, not with the end over there
    store.update(elsewhere, status=JobStatus.COMPLETED)
    job = await waiting

    assert engine.seen == []
    assert told == [Progress("preparing", 0.0)]
    assert (job.status, job.attempt) == (JobStatus.COMPLETED, 1)


async def test_losing_the_job_to_another_attempt_stops_the_engine(renderer, store, engine):
    engine.act = hang
    rendering = asyncio.create_task(render(renderer, to_render()))
    while not engine.seen:
        await asyncio.sleep(0)
    store.delete("job-1")
    with pytest.raises(Interrupted, match="deleted"):
        await rendering

    assert engine.stopped


async def test_the_heartbeat_carries_the_progress(renderer, store, engine):
    engine.act = hang
    rendering = asyncio.create_task(render(renderer, to_render()))
    while not engine.seen or store.find("job-1").progress.get("stage") != "sampling":
        await asyncio.sleep(0.01)
    job = store.find("job-1")
    rendering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await rendering

    assert (job.status, job.progress["progress"], job.progress["step"], job.progress["steps"]) == (
        JobStatus.RUNNING,
        50.0,
        1,
        2,
    )


async def test_a_picture_is_cropped_to_the_size_that_was_asked_for(renderer, engine, tmp_path):
    picture = tmp_path / "wide.png"
    Image.new("RGB", (400, 100), "red").save(picture)
    job, _ = await render(renderer, to_render(spec=dataclasses.replace(SPEC, image=picture)))

    assert "image was cropped (centre) to the shape of 64*48." in job.warnings


async def test_a_picture_of_a_derived_size_keeps_its_shape(renderer, engine, tmp_path):
    picture = tmp_path / "wide.png"
    Image.new("RGB", (400, 100), "red").save(picture)
    await render(renderer, to_render(spec=dataclasses.replace(SPEC, image=picture, size_given=False)))

    assert picture == engine.seen[0].image


async def test_a_task_with_sound_must_have_sound(renderer, store):
    with pytest.raises(NoOutput, match="no sound"):
        await render(renderer, to_render(spec=dataclasses.replace(SPEC, task="s2v-14B")))


async def test_two_orders_are_rendered_one_after_the_other(renderer, engine):
    at_work = []

    async def one_at_a_time(_spec, out_path, _report):
        at_work.append(1)
        assert len(at_work) == 1
        await asyncio.sleep(0.02)
        out_path.write_bytes(engine.clip.read_bytes())
        at_work.pop()

    engine.act = one_at_a_time
    all_to_render = [to_render(dataclasses.replace(REQUEST, request_id=f"job-{index}")) for index in range(3)]
    done = await asyncio.gather(*(render(renderer, each) for each in all_to_render))

    assert [job.status for job, _ in done] == [JobStatus.COMPLETED] * 3


async def test_jobs_of_a_remote_engine_render_at_once_and_beside_one_of_this_machine(engine, settings, store, clip):
    together = asyncio.Barrier(3)

    async def meet(_spec, out_path, _report):
        async with asyncio.timeout(20):
            await together.wait()
        shutil.copyfile(clip, out_path)

    engine.act = meet
    remote = dataclasses.replace(engine.row("comfyui"), remote_slots=lambda _settings: 2)
    registry = EngineRegistry((engine.row(), remote), settings)
    renderer = Renderer(
        store=store,
        registry=registry,
        out_dir=settings.out_dir,
        models_dir="",
        mini_allowed=True,
    )
    names = {"here": "diffusers", "there": "comfyui", "there-too": "comfyui"}
    all_to_render = [to_render(dataclasses.replace(REQUEST, request_id=name), engine=names[name]) for name in names]
    jobs = [job for job, _ in await asyncio.gather(*(render(renderer, each) for each in all_to_render))]

    assert {"here": 1, "comfyui": 2} == registry.slots
    assert {JobStatus.COMPLETED} == {job.status for job in jobs}


async def test_jobs_of_this_machine_wait_for_one_another(engine, settings, store, clip):
    inside = []

    async def alone(spec, out_path, _report):
        inside.append(spec)
        assert 1 == len(inside)
        await asyncio.sleep(0)
        shutil.copyfile(clip, out_path)
        inside.remove(spec)

    engine.act = alone
    registry = EngineRegistry((engine.row(),), settings)
    renderer = Renderer(store=store, registry=registry, out_dir=settings.out_dir, models_dir="", mini_allowed=True)
    all_to_render = [to_render(dataclasses.replace(REQUEST, request_id=f"job-{number}")) for number in range(3)]
    jobs = [job for job, _ in await asyncio.gather(*(render(renderer, each) for each in all_to_render))]

    assert {JobStatus.COMPLETED} == {job.status for job in jobs}


@pytest.mark.parametrize("request_id", ["a_i2v_output", "A_I2V_Output"])
async def test_an_id_that_ends_like_the_files_of_another_action_is_refused(renderer, settings, request_id):
    with pytest.raises(InvalidRequest, match="may not end in '_i2v_output'"):
        await render(renderer, to_render(dataclasses.replace(REQUEST, request_id=request_id)))

    assert not settings.out_dir.exists()


async def test_a_file_that_no_record_of_this_id_knows_is_not_written_over(renderer, settings, engine):
    settings.out_dir.mkdir(parents=True)
    (settings.out_dir / "job-1.mp4").write_bytes(b"another job's")

    with pytest.raises(RequestIdReused, match="would overwrite"):
        await render(renderer, to_render())

    assert (settings.out_dir / "job-1.mp4").read_bytes() == b"another job's"
    assert engine.seen == []


def test_graph_files_of_one_name_are_told_apart_whoever_made_them(tmp_path):
    parts = [tmp_path / name for name in ("one", "two")]
    for part in parts:
        part.write_bytes(part.name.encode())
    one = OutputPaths(tmp_path, "a", 1, ".mp4").put_graph_file(parts[0], "b_c.png")
    two = OutputPaths(tmp_path, "a_b", 1, ".mp4").put_graph_file(parts[1], "c.png")

    assert [placed.path.name for placed in (one, two)] == ["a_b_c.1.png", "a_b_c.2.png"]
    assert [placed.path.read_bytes() for placed in (one, two)] == [b"one", b"two"]


async def test_a_finished_clip_is_counted_again_and_its_progress_never_falls(renderer, settings):
    told = []
    spec = dataclasses.replace(SPEC, target_fps=16.0, upscale_factor=2)
    job = await renderer.render(to_render(spec=spec), told.append)

    (output,) = job.outputs
    assert (output.width, output.height, output.fps, output.frames) == (128, 96, 16.0, 10)
    assert [line.partition(":")[0] for line in job.warnings] == ["a word from the engine", "upscale 2", "target_fps 16"]
    assert job.timings["finish_s"] >= 0
    stages = [progress.stage for progress in told]
    assert list(dict.fromkeys(stages)) == ["preparing", "sampling", "interpolating"]
    assert [progress.fraction for progress in told] == sorted(progress.fraction for progress in told)
    assert told[1].fraction == 0.4
    assert [file.name for file in settings.out_dir.iterdir() if file.is_file()] == ["job-1.mp4"]


async def test_a_cancelled_finishing_leaves_no_file(renderer, settings, store):
    spec = dataclasses.replace(SPEC, target_fps=120.0, upscale_factor=4)

    def hear(progress):
        if progress.stage == "interpolating":
            work.cancel()

    work = asyncio.ensure_future(renderer.render(to_render(spec=spec), hear))
    with pytest.raises(asyncio.CancelledError):
        await work

    assert store.find("job-1").status is JobStatus.CANCELLED
    assert [file.name for file in settings.out_dir.iterdir() if file.is_file()] == []
