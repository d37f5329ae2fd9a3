"""The runpod engine against RunPod's control plane on loopback: what is sent, followed, fetched, sent again, left."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import threading
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from PIL import Image

from fakes.bucket import NAME, s3_server
from fakes.engine import write_clip
from fakes.runpod import Job, RunPod
from fakes.runpod_worker import StandInWorker
from loop_watch import blocking_calls
from wanworker.engines.runpod._fleet import Fleet
from wanworker.engines.runpod._remote_render import Policy
from wanworker.engines.runpod.engine import RunPodEngine
from wanworker.engines.runpod.remote_jobs import RemoteJob, RemoteJobs, notes_folder
from wanworker.errors import EngineFailed, EngineUnavailable, InputRefused, OutOfMemory
from wanworker.progress import Progress
from wanworker.settings import Settings, WeightedEndpoint
from wanworker.spec import RenderSpec, Size

SPEC = RenderSpec(
    task="t2v-A14B", prompt="a red star", size=Size(64, 48), size_given=True, fps=8.0, fps_given=True, seed=7, frames=5
)

Act = Callable[[StandInWorker, Job], object]


async def no_pause(_seconds: float) -> None:
    await asyncio.sleep(0)


@pytest.fixture
def planes() -> Iterator[list[RunPod]]:
    with RunPod(endpoint="one") as first, RunPod(endpoint="two") as second:
        yield [first, second]


@pytest.fixture
async def make(
    planes: list[RunPod], make_settings: Callable[..., Settings]
) -> AsyncIterator[Callable[..., RunPodEngine]]:
    made: list[RunPodEngine] = []

    def engine(*endpoints: WeightedEndpoint, policy: Policy | None = None, **fields: Any) -> RunPodEngine:
        settings = make_settings(
            runpod_endpoints=endpoints or (WeightedEndpoint(planes[0].url),),
            runpod_api_key=planes[0].api_key,
            allow_hosts="127.0.0.1",
            **fields,
        )
        made.append(RunPodEngine(settings, policy=policy or Policy(sleep=no_pause), poll_s=0.01))
        return made[-1]

    yield engine
    for each in made:
        await each.close()


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip.mp4")


@pytest.fixture
def answer(clip: Path) -> dict[str, Any]:
    data = base64.b64encode(clip.read_bytes()).decode()
    return {
        "result": {"filename": "a.mp4", "data": f"data:video/mp4;base64,{data}"},
        "warnings": ["a word from there"],
        "engine": "diffusers",
        "model": "wan",
        "timings": {"render_s": 2.5},
        "delivery": {"how": "base64"},
    }


def done(answer: dict[str, Any]) -> Act:
    return lambda worker, job: worker.done(job, {"output": answer})


@pytest.fixture
def rendering(tmp_path: Path) -> Callable[..., Awaitable[Any]]:
    async def render(engine: RunPodEngine, spec: RenderSpec = SPEC, report: Any = lambda _progress: None) -> Any:
        work_dir, out_path = tmp_path / "work", tmp_path / "out.mp4"
        work_dir.mkdir(exist_ok=True)
        out_path.unlink(missing_ok=True)
        return await engine.render_as("job", spec, out_path, work_dir=work_dir, report=report, timeout_s=60)

    return render


def downloaded(url: str) -> bytes:
    with urllib.request.urlopen(url) as answer:
        return bytes(answer.read())


def both(planes: list[RunPod]) -> tuple[WeightedEndpoint, WeightedEndpoint]:
    return WeightedEndpoint(planes[0].url), WeightedEndpoint(planes[1].url)


async def test_a_job_is_sent_followed_and_fetched(make, planes, rendering, answer, clip, tmp_path):
    seen: list[Progress] = []

    def act(worker: StandInWorker, job: Job) -> None:
        worker.progress(job, {"stage": "sampling", "progress": 40.0, "step": 2, "steps": 5, "eta_s": 3.0})
        planes[0].wait_for_event("told", detail=job.for_client())
        worker.done(job, {"output": answer})

    with StandInWorker(planes[0], act):
        made = await rendering(make(), report=seen.append)

    assert (tmp_path / "out.mp4").read_bytes() == clip.read_bytes()
    assert Progress("sampling", 0.4, 2, 5, 3.0) in seen
    assert ("a word from there",) == made.warnings
    assert "wan on RunPod (diffusers" in made.model
    assert 2.5 == made.timings["remote_render_s"]
    [job] = planes[0].jobs.values()
    assert ("generate", 7, 5, "64*48") == tuple(job.input[name] for name in ("action", "seed", "frame_num", "size"))


async def test_a_large_video_is_read_and_written_beside_the_event_loop(make, planes, rendering, answer, clip, tmp_path):
    room = 2_000_000
    video = clip.read_bytes() + room.to_bytes(4, "big") + b"free" + bytes(room - 8)  # a box that players skip
    picture = tmp_path / "in.png"
    Image.effect_noise((640, 480), 50).save(picture)
    spec = dataclasses.replace(SPEC, task="i2v-A14B", image=picture)
    answer["result"]["data"] = base64.b64encode(video).decode()
    engine = make()
    with StandInWorker(planes[0], done(answer)):
        await rendering(engine, spec)  # imports, connections
        again, work = tmp_path / "again.mp4", tmp_path / "work"
        with blocking_calls() as blocking:
            await engine.render_as("again", spec, again, work_dir=work, report=lambda _told: None, timeout_s=60)

    assert [] == blocking
    assert video == again.read_bytes()


async def test_a_cancelled_render_has_ended_over_there(make, planes, rendering):
    with StandInWorker(planes[0], lambda _worker, _job: None):
        task = asyncio.create_task(rendering(make()))
        await asyncio.to_thread(planes[0].wait_for_event, "take")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    [job] = planes[0].jobs.values()
    assert "CANCELLED" == job.status


async def test_a_render_that_is_left_goes_on_and_the_next_process_finds_it(make, planes, rendering, answer):
    engine = make()
    is_taken = threading.Event()  # a job that is answered before a worker has it would be taken after its end
    with StandInWorker(planes[0], lambda _worker, _job: is_taken.set()):
        task = asyncio.create_task(rendering(engine))
        await asyncio.to_thread(planes[0].wait_for_event, "told")
        assert await asyncio.to_thread(is_taken.wait, 20)
        engine.leave_jobs()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        [job] = planes[0].jobs.values()
        assert not job.is_over
        StandInWorker(planes[0], lambda *_: None).done(job, {"output": answer})
        async with asyncio.timeout(30):
            await rendering(make())
    assert [job] == list(planes[0].jobs.values())


async def test_another_spec_under_the_same_name_is_another_job(make, planes, rendering, answer):
    with StandInWorker(planes[0], done(answer)):
        await rendering(make())
        await rendering(make())
        assert 1 == len(planes[0].jobs)
        await rendering(make(), dataclasses.replace(SPEC, seed=8))
    assert 2 == len({job.input["request_id"] for job in planes[0].jobs.values()})


async def test_a_job_that_runpod_has_forgotten_is_sent_again_under_its_request_id(make, planes, rendering, answer):
    with StandInWorker(planes[0], done(answer)):
        await rendering(make())
        [first] = planes[0].jobs.values()
        planes[0].jobs.clear()
        await rendering(make())
    [second] = planes[0].jobs.values()
    assert first.input["request_id"] == second.input["request_id"]


async def test_a_failure_of_the_job_is_not_tried_again(make, planes, rendering):
    failure = {"error": "the GPU is full", "code": "OUT_OF_MEMORY", "hint": "Ask for less."}
    with (
        StandInWorker(planes[0], lambda worker, job: worker.done(job, {"error": "the GPU is full", "output": failure})),
        pytest.raises(OutOfMemory, match="the GPU is full"),
    ):
        await rendering(make(*both(planes)))
    assert 1 == sum(len(plane.jobs) for plane in planes)


@pytest.mark.parametrize("error", ["job timed out after 1 retries", "worker exited with exit code 137"])
async def test_a_job_whose_worker_was_lost_goes_to_another_endpoint(error, make, planes, rendering, answer):
    with (
        StandInWorker(planes[0], lambda worker, job: worker.done(job, {"error": error})),
        StandInWorker(planes[1], done(answer)),
    ):
        await rendering(make(*both(planes)))
    assert [1, 1] == [len(plane.jobs) for plane in planes]


@pytest.mark.parametrize("how", ["lost worker", "lost result"])
async def test_a_job_that_waits_to_be_sent_again_is_known_to_the_next_process(
    how, make, planes, rendering, answer, settings
):
    notes, seen = RemoteJobs(notes_folder(settings.jobs_dir)), []

    async def note_pause(_seconds: float) -> None:
        seen.append((notes.knows("job"), notes.get("job")))

    def act(worker: StandInWorker, job: Job) -> None:
        lost = {"output": damaged(answer, "no base64!")}
        failed = {"error": "worker exited with exit code 137"} if how == "lost worker" else lost
        worker.done(job, failed if len(planes[0].jobs) == 1 else {"output": answer})

    with StandInWorker(planes[0], act):
        await rendering(make(policy=Policy(sleep=note_pause)))

    ((is_known, note),) = seen
    assert is_known
    assert ("", "") == (note.endpoint, note.job_id)  # nobody asks again for the one that failed
    assert 2 == len(planes[0].jobs)


@pytest.mark.parametrize("status", [500, 503, 404])
async def test_an_endpoint_that_takes_no_job_is_passed_over(status, make, planes, rendering, answer):
    planes[0].knobs.run_faults.append(status)
    with StandInWorker(planes[1], done(answer)):
        await rendering(make(*both(planes)))
    assert [0, 1] == [len(plane.jobs) for plane in planes]


@pytest.mark.parametrize("text", ['{"error": "no capacity"}', "<html>away</html>"])
async def test_an_answer_without_an_id_is_no_job(text, make, planes, rendering, answer):
    planes[0].knobs.run_faults.append(text)
    with StandInWorker(planes[0], done(answer)):
        await rendering(make())
    assert 1 == len(planes[0].jobs)


def damaged(answer: dict[str, Any], data: str) -> dict[str, Any]:
    return {**answer, "result": {**answer["result"], "data": data}}


@pytest.mark.parametrize("how", ["no output", "cut base64", "no base64", "half a film", "no film"])
async def test_a_result_that_is_lost_on_its_way_is_made_again(how, make, planes, rendering, answer, clip, tmp_path):
    whole = base64.b64encode(clip.read_bytes()).decode()
    half = base64.b64encode(clip.read_bytes()[: clip.stat().st_size // 2]).decode()
    film = base64.b64encode(b"<html>not a film</html>").decode()
    data = {"cut base64": whole[:-3], "no base64": "\u00e9!", "half a film": half, "no film": film}

    def act(worker: StandInWorker, job: Job) -> None:
        if len(planes[0].jobs) > 1:
            worker.done(job, {"output": answer})
        elif how == "no output":
            planes[0].lose_result(job, "stand-in", 30_000_000)
        else:
            worker.done(job, {"output": damaged(answer, data[how])})

    with StandInWorker(planes[0], act):
        await rendering(make())
    assert clip.read_bytes() == (tmp_path / "out.mp4").read_bytes()
    ids = [job.input["request_id"] for job in planes[0].jobs.values()]
    assert (2, 1) == (len(ids), len(set(ids)))  # so that a worker with a volume answers without rendering


async def test_a_link_that_breaks_off_is_followed_again_and_an_expired_one_is_a_lost_result(
    make, planes, rendering, answer, clip, tmp_path
):
    asked: list[str] = []

    async def served(request: web.BaseRequest) -> web.Response:
        asked.append(request.path)
        if request.path == "/expired.mp4":
            return web.Response(status=403, text="<Code>AccessDenied</Code>")
        return web.Response(status=503) if asked.count(request.path) == 1 else web.Response(body=clip.read_bytes())

    async with served_on_loopback(served) as url:

        def act(worker: StandInWorker, job: Job) -> None:
            name = "expired" if len(planes[0].jobs) == 1 else "new"
            worker.done(job, {"output": {**answer, "result": {"filename": "a.mp4", "url": f"{url}/{name}.mp4"}}})

        with StandInWorker(planes[0], act):
            await rendering(make())
    assert ["/expired.mp4"] * 3 + ["/new.mp4"] * 2 == asked
    assert 2 == len(planes[0].jobs)


async def test_a_job_that_somebody_else_cancels_says_so_and_is_not_sent_again(make, planes, rendering):
    def act(_worker: StandInWorker, job: Job) -> None:
        planes[0].cancel(job.job_id)

    with (
        StandInWorker(planes[0], act),
        pytest.raises(EngineFailed, match="was cancelled at its endpoint"),
    ):
        await rendering(make(*both(planes)))
    assert 1 == sum(len(plane.jobs) for plane in planes)


async def test_a_job_at_an_endpoint_that_the_settings_name_no_more_is_found_there(make, planes, rendering, answer):
    engine = make(WeightedEndpoint(planes[1].url))
    is_taken = threading.Event()
    with StandInWorker(planes[1], lambda _worker, _job: is_taken.set()):
        task = asyncio.create_task(rendering(engine))
        await asyncio.to_thread(planes[1].wait_for_event, "told")
        assert await asyncio.to_thread(is_taken.wait, 20)
        engine.leave_jobs()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        [job] = planes[1].jobs.values()
        StandInWorker(planes[1], lambda *_: None).done(job, {"output": answer})
        async with asyncio.timeout(30):
            await rendering(make())  # of the first endpoint alone
    assert ({}, "COMPLETED") == (planes[0].jobs, job.status)


async def test_a_job_that_is_called_off_while_it_is_sent_is_stopped_once_its_id_is_here(make, planes, rendering):
    gate, came = asyncio.Event(), asyncio.Event()
    calls: list[str] = []

    async def served(request: web.BaseRequest) -> web.Response:
        calls.append(request.path)
        if request.path == "/v2/slow/run":
            came.set()
            await gate.wait()
        return web.json_response({"id": "job-1", "status": "CANCELLED"})

    async with served_on_loopback(served) as url:
        task = asyncio.create_task(rendering(make(WeightedEndpoint(f"{url}/v2/slow"))))
        await came.wait()
        task.cancel()
        await asyncio.wait({task}, timeout=0)
        gate.set()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert ["/v2/slow/run", "/v2/slow/cancel/job-1", "/v2/slow/status/job-1"] == calls


@contextlib.asynccontextmanager
async def served_on_loopback(answer: Callable[[web.BaseRequest], Awaitable[web.Response]]) -> AsyncIterator[str]:
    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_a_wrong_key_is_said_at_once(make, planes, rendering):
    engine = make(*both(planes))
    planes[0].api_key = "another"
    with pytest.raises(EngineUnavailable, match="refuses the key"):
        await rendering(engine)


async def test_tries_are_bounded_and_each_is_named(make, planes, rendering):
    lost = {"error": "worker exited with exit code 137"}
    with (
        StandInWorker(planes[0], lambda worker, job: worker.done(job, lost)),
        pytest.raises(EngineUnavailable, match="in 3 tries: worker exited"),
    ):
        await rendering(make(policy=Policy(tries=3, sleep=no_pause)))
    assert 3 == len(planes[0].jobs)


async def test_a_job_that_waits_too_long_is_withdrawn_and_goes_elsewhere(make, planes, rendering, answer):
    with StandInWorker(planes[1], done(answer)):
        await rendering(make(*both(planes), policy=Policy(queue_s=0.0, sleep=no_pause)))
    [withdrawn] = planes[0].jobs.values()
    assert "CANCELLED" == withdrawn.status


async def test_a_video_on_the_shared_volume_is_copied_and_inputs_go_there(make, planes, rendering, clip, tmp_path):
    volume, picture = tmp_path / "volume", tmp_path / "picture.png"
    volume.mkdir()
    Image.new("RGB", (64, 48), "red").save(picture)
    given: list[bytes] = []

    def act(worker: StandInWorker, job: Job) -> None:
        there = Path(job.input["reference_image_path"])
        given.append((volume / there.relative_to("/runpod-volume")).read_bytes())
        (volume / "a.mp4").write_bytes(clip.read_bytes())
        worker.done(job, {"output": {"result": {"filename": "a.mp4", "path": "/runpod-volume/a.mp4"}}})

    with StandInWorker(planes[0], act):
        spec = dataclasses.replace(SPEC, task="i2v-A14B", image=picture)
        await rendering(make(runpod_volume=str(volume)), spec)
    assert [picture.read_bytes()] == given
    assert (tmp_path / "out.mp4").read_bytes() == clip.read_bytes()
    assert [] == list((volume / "inputs").iterdir())


@pytest.mark.parametrize("path", ["/etc/passwd", "/runpod-volume/../etc/passwd", "/runpod-volume/link.mp4"])
async def test_nothing_outside_the_volume_is_copied(path, make, planes, rendering, tmp_path):
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "link.mp4").symlink_to("/etc/passwd")
    output = {"result": {"filename": "a.mp4", "path": path}}
    with StandInWorker(planes[0], done(output)), pytest.raises(EngineFailed, match="not on the shared volume"):
        await rendering(make(runpod_volume=str(volume)))
    assert not (tmp_path / "out.mp4").exists()


async def test_what_cannot_be_copied_from_the_volume_fails_the_job_in_words(make, planes, rendering, tmp_path):
    (tmp_path / "volume" / "folder.mp4").mkdir(parents=True)
    output = {"result": {"filename": "a.mp4", "path": "/runpod-volume/folder.mp4"}}
    with (
        StandInWorker(planes[0], done(output)),
        pytest.raises(EngineFailed, match="could not be copied from"),
    ):
        await rendering(make(runpod_volume=str(tmp_path / "volume")))


async def test_a_video_that_stays_on_the_endpoint_is_said(make, planes, rendering):
    output = {"result": {"filename": "a.mp4", "path": "/runpod-volume/a.mp4"}}
    with StandInWorker(planes[0], done(output)), pytest.raises(EngineFailed, match="too large for RunPod") as failed:
        await rendering(make())
    assert "WAN_RUNPOD_VOLUME" in failed.value.hint


@pytest.fixture
def large(tmp_path: Path) -> RenderSpec:
    picture = tmp_path / "large.png"
    Image.effect_noise((2048, 2048), 90).convert("RGB").save(picture, compress_level=0)
    assert picture.stat().st_size > 10_000_000
    return dataclasses.replace(SPEC, task="i2v-A14B", image=picture)


async def test_a_file_above_runpods_limit_is_refused_without_a_bucket(make, planes, rendering, large):
    with pytest.raises(InputRefused, match=r"reference_image: the file has .* MB"):
        await rendering(make(), large)
    assert {} == planes[0].jobs


async def test_a_file_above_runpods_limit_goes_by_the_bucket(make, planes, rendering, answer, large):
    with s3_server() as server, StandInWorker(planes[0], done(answer)):
        bucket = {
            "bucket_endpoint_url": server.url,
            "bucket_access_key_id": server.access_key_id,
            "bucket_secret_access_key": server.secret_access_key,
            "bucket_name": NAME,
        }
        await rendering(make(**bucket), large)
        [job] = planes[0].jobs.values()
        there = await asyncio.to_thread(downloaded, job.input["reference_image_url"])
    assert large.image.read_bytes() == there


def test_endpoints_get_jobs_by_weight_and_one_that_failed_comes_last():
    now = 0.0
    fleet = Fleet((WeightedEndpoint("a", 1), WeightedEndpoint("b", 3)), clock=lambda: now)
    given: list[str] = []
    with contextlib.ExitStack() as jobs:
        for _ in range(8):
            given.append(fleet.choose(()))
            jobs.enter_context(fleet.counted(given[-1]))
    assert (2, 6) == (given.count("a"), given.count("b"))
    fleet.note_failure("b")
    assert "a" == fleet.choose(())
    assert "b" == fleet.choose(("a",))
    now = 61.0
    assert "b" == fleet.choose(())


def test_notes_survive_and_know_the_outputs_of_a_job(tmp_path):
    notes = RemoteJobs(tmp_path / "remote")
    assert not notes.knows("a")
    remote = RemoteJob("endpoint", "id-1", "print", {"image_url": "https://x"})
    notes.put("a.2", remote)
    assert remote == RemoteJobs(tmp_path / "remote").get("a.2")
    assert 0o600 == (tmp_path / "remote" / "a.2.json").stat().st_mode & 0o777
    assert (True, False, False) == (notes.knows("a"), notes.knows("a2"), notes.knows("b"))
    (tmp_path / "remote" / "b.json").write_text("{")
    assert notes.get("b") is None
    notes.prune(now=(tmp_path / "remote" / "b.json").stat().st_mtime + 8 * 86_400)
    assert not notes.knows("a")


async def test_a_render_that_was_announced_is_known_before_it_is_sent_and_an_older_note_stays(make, settings, tmp_path):
    engine, notes = make(), RemoteJobs(notes_folder(settings.jobs_dir))
    engine.announce("a")
    assert notes.knows("a")
    sent = RemoteJob("endpoint", "id-1", "print")
    notes.put("a", sent)
    engine.announce("a")
    assert sent == notes.get("a")
