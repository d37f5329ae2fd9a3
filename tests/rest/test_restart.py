"""What a restart finds: finished jobs, jobs that were being rendered, and jobs that waited."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from fakes.other_workers import Clock, alive, elsewhere, killed
from fakes.ports import held_port
from wanworker.app import Worker
from wanworker.jobs.model import JobStatus
from wanworker.jobs.pending_requests import PendingRequests
from wanworker.jobs.runner import Runner
from wanworker.jobs.store.disk import LEFTOVER_AFTER_S
from wanworker.jobs.store.job_store import JobRequest, JobStore
from wanworker.rest.service.recovery import JobRecovery
from wanworker.rest.service.webhooks import Webhooks
from wanworker.settings import child_environment


def leave(root, request_id, *, status, at, owner=killed, url=None, started=False):
    """Leave a job and its kept request behind, as a process does that was killed."""
    clock = Clock(now=at)
    store = JobStore(root, clock=clock, owner=owner, in_background=lambda _beat, _every_s: None)
    job = store.claim(JobRequest(request_id, "rest", f"hash-{request_id}", prompt="a cat"), queued=not started).job
    if status.is_terminal:
        store.update(job, status=status)
    fields = {"task": "ti2v-5B", "prompt": "a cat", "seed": 5, "size": "64*64", "frame_num": 5, "fps": 8}
    kept = PendingRequests(root / "kept")
    kept.put(request_id, {"fields": fields, "left_out": [], "warnings": [], "webhook_url": url})
    return kept


async def test_jobs_that_waited_are_rendered_in_their_order(serve, settings, engine):
    for request_id, at in (("second", 2e9), ("first", 1e9)):
        leave(settings.jobs_dir, request_id, status=JobStatus.QUEUED, at=at)
    order = []

    async def note(_spec, out_path, _report):
        order.append(out_path.name)
        out_path.write_bytes(engine.clip.read_bytes())

    engine.act = note
    async with serve() as rest:
        done = [await rest.until(request_id) for request_id in ("first", "second")]

    assert ["completed"] * 2 == [job["status"] for job in done]
    assert [5, 5] == [job["seed"] for job in done]
    assert [".first-2.part.mp4", ".second-2.part.mp4"] == order


async def test_a_job_that_was_being_rendered_is_marked_and_not_rendered_again(serve, settings, engine):
    kept = leave(settings.jobs_dir, "broken", status=JobStatus.RUNNING, at=1e9, started=True)
    async with serve() as rest:
        status = await rest.status("broken")
        async with asyncio.timeout(10):
            while kept.ids():
                await asyncio.sleep(0.01)

    assert ("error", "INTERRUPTED") == (status["status"], status["code"])
    assert [] == engine.seen


async def test_a_server_serves_while_it_takes_up_what_waited(serve, settings, engine):
    leave(settings.jobs_dir, "waited", status=JobStatus.QUEUED, at=1e9)
    with alive() as owner:
        # Somebody else is about to claim it, so the server waits with its own claim.
        mark = settings.jobs_dir / "running" / "waited.2"
        mark.write_bytes(owner().to_json())
        async with serve() as rest:
            job_id = await rest.generate(seed=1)
            new = await rest.until(job_id)
            _, listed = await rest.ask("GET", "/jobs")
            meanwhile = [await rest.status("waited"), *listed["jobs"]]
            mark.unlink()
            done = await rest.until("waited")

    assert "completed" == new["status"]
    assert [("queued", None)] * 2 == [
        (job["status"], job.get("error")) for job in meanwhile if job["job_id"] == "waited"
    ]
    assert "completed" == done["status"]


class CannotLook(Worker):
    """A worker whose look at what earlier processes left fails as nobody foresaw."""

    async def recover_once(self):
        raise OSError("the folder of temporary files cannot be read")


async def test_what_waited_is_taken_up_though_the_rest_of_the_tidying_fails(serve_worker, settings, engine):
    leave(settings.jobs_dir, "waited", status=JobStatus.QUEUED, at=1e9)
    async with serve_worker(CannotLook(settings, engines=(engine.row("diffusers"),))) as rest:
        assert "completed" == (await rest.until("waited"))["status"]


async def test_a_job_that_is_deleted_before_it_is_taken_up_does_not_come_back(serve, settings, engine):
    for request_id, at in (("waited", 1e9), ("next", 2e9)):
        leave(settings.jobs_dir, request_id, status=JobStatus.QUEUED, at=at)
    with alive() as owner:
        mark = settings.jobs_dir / "running" / "waited.2"
        mark.write_bytes(owner().to_json())
        async with serve() as rest:
            deleted, _ = await rest.ask("DELETE", "/jobs/waited")
            mark.unlink()
            await rest.until("next")
            status, _ = await rest.ask("GET", "/status/waited")
            await rest.until_nothing_is_kept()

    assert (200, 404, 1) == (deleted, status, len(engine.seen))


async def test_a_job_of_another_living_process_is_left_alone_until_that_ends(settings):
    kept = leave(settings.jobs_dir, "theirs", status=JobStatus.QUEUED, at=1e9, owner=elsewhere)
    clock = Clock(now=1e9)
    store = JobStore(settings.jobs_dir, clock=clock, elapsed=clock)
    recovery = JobRecovery(store, kept, Webhooks(secret=None), lambda _request_id, _job: None)
    runner = Runner(store, _never, limit=1)
    await recovery.take_up(runner)
    before = runner.find("theirs")
    clock.now += 31  # their mark has not changed since
    await recovery.take_up(runner)

    assert None is before
    assert runner.find("theirs") is not None
    assert (JobStatus.QUEUED, 2) == (store.find("theirs").status, store.find("theirs").attempt)


async def test_a_request_without_a_record_is_left_to_whoever_writes_it(settings):
    kept = PendingRequests(settings.jobs_dir / "kept")
    kept.put("young", {"fields": {}})
    store = JobStore(settings.jobs_dir)
    await JobRecovery(store, kept, Webhooks(secret=None), lambda *_: None).take_up(Runner(store, _never, limit=1))

    assert ["young"] == kept.ids()


async def test_a_request_that_was_left_without_a_record_goes_when_it_is_old(settings):
    kept = PendingRequests(settings.jobs_dir / "kept")
    kept.put("old", {"fields": {}})
    path = settings.jobs_dir / "kept" / "old.json"
    os.utime(path, (path.stat().st_mtime - LEFTOVER_AFTER_S - 1,) * 2)
    store = JobStore(settings.jobs_dir)

    await JobRecovery(store, kept, Webhooks(secret=None), lambda *_: None).take_up(Runner(store, _never, limit=1))

    assert [] == kept.ids()


@pytest.mark.parametrize("odd", ["{}", "[]", "{", '{"fields": 3, "left_out": [], "warnings": []}'])
async def test_a_kept_request_that_nobody_can_read_keeps_no_server_from_its_start(serve, settings, odd):
    for request_id, at in (("odd", 1e9), ("good", 2e9)):
        kept = leave(settings.jobs_dir, request_id, status=JobStatus.QUEUED, at=at)
    (kept.folder / "odd.json").write_text(odd)
    async with serve() as rest:
        assert "completed" == (await rest.until("good"))["status"]
        status = await rest.status("odd")
        assert ("error", "INTERRUPTED") == (status["status"], status["code"])
        async with asyncio.timeout(10):
            while kept.ids():
                await asyncio.sleep(0.01)


async def test_what_was_left_of_requests_that_never_came_about_goes_when_it_is_old(serve, settings):
    kept = leave(settings.jobs_dir, "theirs", status=JobStatus.QUEUED, at=1e9, owner=elsewhere)
    (kept.folder / "unfinished").mkdir(exist_ok=True)
    left = ["old.image.png", "old.image.part", "old.film", "old.sound", "unfinished/old.json.0123.tmp"]
    stays = ["young.image.png", "theirs.film", "theirs.json", "somebody's notes.txt"]
    for name in (*left, *stays[:2], stays[3]):
        (kept.folder / name).write_bytes(b"x")
    for name in (*left, *stays[1:]):
        path = kept.folder / name
        os.utime(path, (path.stat().st_mtime - LEFTOVER_AFTER_S - 1,) * 2)

    def found():
        return sorted(str(path.relative_to(kept.folder)) for path in kept.folder.rglob("*") if path.is_file())

    async with serve(), asyncio.timeout(10):
        while found() != sorted(stays):
            await asyncio.sleep(0.01)


async def _never(_job, _report):
    raise AssertionError("nothing is to be rendered")


async def test_a_stop_in_good_order_loses_no_job(serve, engine):
    began = asyncio.Event()

    async def hang(_spec, _path, _report):
        began.set()
        await asyncio.Event().wait()

    engine.act = hang
    async with serve() as rest:
        running, waiting = await rest.generate(seed=1), await rest.generate(seed=2)
        await began.wait()
    assert engine.stopped
    engine.act = None
    async with serve() as rest:
        done = [await rest.until(job_id) for job_id in (running, waiting)]

    assert ["completed", "completed"] == [job["status"] for job in done]
    assert [1, 2] == [job["seed"] for job in done]


class Server:
    """`python -m wanworker.rest` with the miniature, in a process of its own."""

    def __init__(self, out_dir: Path):
        self.port = held_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._out_dir = out_dir

    async def __aenter__(self):
        variables = {"WAN_OUT_DIR": str(self._out_dir), "REST_PORT": str(self.port), "OMP_NUM_THREADS": "1"}
        argv = [sys.executable, "-m", "wanworker.rest"]
        self._log = (self._out_dir.parent / "rest.log").open("ab")
        environment = {**child_environment(), **variables}
        self.process = subprocess.Popen(  # noqa: ASYNC220 - it is spawned in a millisecond
            argv, env=environment, stderr=self._log, cwd=self._out_dir.parent
        )
        self.session = aiohttp.ClientSession()
        async with asyncio.timeout(30):
            while await self.ask("GET", "/ping") is None:
                assert self.process.poll() is None
                await asyncio.sleep(0.05)
        return self

    async def __aexit__(self, *_):
        await self.session.close()
        self.process.terminate()
        await asyncio.to_thread(self.process.wait, 30)
        self._log.close()

    async def ask(self, method, path, **kwargs):
        try:
            async with self.session.request(method, f"{self.url}{path}", **kwargs) as answer:
                return await answer.json()
        except aiohttp.ClientConnectionError:
            return None

    async def until(self, job_id, *words):
        async with asyncio.timeout(100):
            while (status := await self.ask("GET", f"/status/{job_id}"))["status"] not in words:
                await asyncio.sleep(0.1)
        return status


@pytest.mark.slow
async def test_kill_9_in_mid_job_and_restart_loses_nothing(tmp_path):
    small = {"width": 64, "height": 64, "length": 5}
    out_dir = tmp_path / "outputs"
    out_dir.mkdir()
    async with Server(out_dir) as server:
        ids = [
            (await server.ask("POST", "/generate", json={"prompt": f"a red circle {number}", **small}))["job_id"]
            for number in range(3)
        ]
        await server.until(ids[0], "completed")
        await server.until(ids[1], "processing")
        server.process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(server.process.wait)
    async with Server(out_dir) as server:
        first = await server.ask("GET", f"/status/{ids[0]}")
        second = await server.ask("GET", f"/status/{ids[1]}")
        third = await server.until(ids[2], "completed", "error")
        listed = await server.ask("GET", "/jobs")

    assert ("completed", True) == (first["status"], first["video_ready"])
    assert ("error", "INTERRUPTED") == (second["status"], second["code"])
    assert "completed" == third["status"], third
    assert ids[::-1] == [job["job_id"] for job in listed["jobs"]]


def test_what_is_kept_comes_back_and_goes_whole(tmp_path):
    kept = PendingRequests(tmp_path / "kept")
    kept.put("a", {"fields": {"prompt": "caf\u00e9"}})
    kept.image_path("a").write_bytes(b"png")
    kept.film_path("a").write_bytes(b"mp4")
    (tmp_path / "kept" / "b.json").write_text("{half")
    found = kept.get("a")
    kept.remove("a")

    assert {"fields": {"prompt": "caf\u00e9"}} == found
    assert (None, None) == (kept.get("a"), kept.get("b"))
    assert ["b.json"] == [path.name for path in (tmp_path / "kept").iterdir() if path.is_file()]
