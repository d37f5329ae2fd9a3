"""RunPod's own routes: the worker document's calls against this server."""

import asyncio
import base64

import pytest

from wanworker.engines.preview import Previewed
from wanworker.errors import EngineFailed, UnknownJob
from wanworker.progress import Progress
from wanworker.rest.service.runpod_jobs import RunPodJobs
from wanworker.rest.service.webhooks import Webhooks

INPUT = {"action": "generate", "task": "t2v-A14B", "prompt": "a cat", "size": "64*64", "frame_num": 5, "seed": 3}


async def run_job(rest, fields=INPUT, route="runsync"):
    return await rest.ask("POST", f"/v2/any-endpoint/{route}", json={"input": fields})


async def status_of(rest, job_id, *words):
    async with asyncio.timeout(20):
        while (answer := (await rest.ask("GET", f"/v2/any-endpoint/status/{job_id}"))[1])["status"] not in words:
            await asyncio.sleep(0.02)
    return answer


async def test_runsync_answers_with_the_video_in_output(rest, clip):
    status, answer = await run_job(rest)
    data = answer["output"]["result"]["data"]

    assert (200, "COMPLETED") == (status, answer["status"])
    assert clip.read_bytes() == base64.b64decode(data.removeprefix("data:video/mp4;base64,"))
    assert ("COMPLETED", 3) == (answer["output"]["status"]["status"], answer["output"]["seed"])
    assert answer["executionTime"] >= 0


async def test_run_answers_at_once_and_status_follows(rest):
    status, started = await run_job(rest, route="run")
    done = await status_of(rest, started["id"], "COMPLETED")

    assert (200, "IN_QUEUE") == (status, started["status"])
    assert started["id"] == done["id"] == done["output"]["request_id"]


async def test_a_running_job_shows_the_picture_that_its_engine_sends(rest, clip):
    gate = asyncio.Event()

    async def paint(_spec, path, report):
        report(Previewed.of(Progress("sampling", 0.5, step=1, steps=2), b"a picture", "image/png"))
        await gate.wait()
        path.write_bytes(clip.read_bytes())

    rest.engine.act = paint
    _, started = await run_job(rest, route="run")
    async with asyncio.timeout(20):
        while "preview_url" not in (output := (await status_of(rest, started["id"], "IN_PROGRESS"))["output"]):
            await asyncio.sleep(0.02)
    during = await rest.bytes_of(output["preview_url"])
    gate.set()
    await status_of(rest, started["id"], "COMPLETED")

    assert (200, b"a picture") == during
    assert 404 == (await rest.bytes_of(output["preview_url"]))[0]


async def test_a_failed_job_is_failed_with_its_error_beside_the_output(rest):
    async def fail(_spec, _path, _report):
        raise EngineFailed("The engine fell over.")

    rest.engine.act = fail
    _, answer = await run_job(rest)

    assert ("FAILED", "The engine fell over.") == (answer["status"], answer["error"])
    assert "ENGINE_FAILED" == answer["output"]["code"]


async def test_an_unknown_field_beside_the_input_is_a_warning(rest):
    body = {"input": {"prompt": "a star", "task": "t2v-A14B"}, "s3config": {}, "policy": {"ttl": 10_000}}
    _, answer = await rest.ask("POST", "/v2/local/runsync", json=body)

    assert "unknown field 's3config' was ignored; did you mean 's3Config'?" in answer["output"]["warnings"]
    assert not any("policy" in line for line in answer["output"]["warnings"])


async def test_progress_is_the_output_of_a_job_in_progress(rest):
    go_on = asyncio.Event()

    async def wait(_spec, out_path, _report):
        await go_on.wait()
        out_path.write_bytes(rest.engine.clip.read_bytes())

    rest.engine.act = wait
    _, started = await run_job(rest, route="run")
    during = await status_of(rest, started["id"], "IN_PROGRESS")
    _, root = await rest.ask("GET", "/")
    go_on.set()
    await status_of(rest, started["id"], "COMPLETED")

    assert "RUNNING" == during["output"]["status"]
    assert 0 == root["queue"]["length"]


async def test_cancel_stops_the_job(rest):
    began = asyncio.Event()

    async def hang(_spec, _path, _report):
        began.set()
        await asyncio.Event().wait()

    rest.engine.act = hang
    _, started = await run_job(rest, route="run")
    await began.wait()
    status, answer = await rest.ask("POST", f"/v2/x/cancel/{started['id']}")

    assert (200, "CANCELLED") == (status, answer["status"])
    assert rest.engine.stopped


async def test_the_short_form_of_health(rest):
    _, answer = await run_job(rest, {"health": True})

    assert "COMPLETED" == answer["status"]
    assert {"ok", "wan_home", "ckpt_dir"} <= set(answer["output"])


@pytest.mark.parametrize("body", [{}, {"input": "text"}, {"input": None}, {"inputs": {}}])
async def test_without_an_input_it_is_422(rest, body):
    status, failure = await rest.ask("POST", "/v2/x/run", json=body)

    assert (422, "input") == (status, failure["field"])


async def test_an_unknown_job_is_404(rest):
    assert 404 == (await rest.ask("GET", "/v2/x/status/nothing"))[0]
    assert 404 == (await rest.ask("POST", "/v2/x/cancel/nothing"))[0]


async def test_both_faces_share_the_one_engine_and_the_one_store(rest):
    most = running = 0

    async def count(_spec, out_path, _report):
        nonlocal most, running
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        out_path.write_bytes(rest.engine.clip.read_bytes())
        running -= 1

    rest.engine.act = count
    _, started = await run_job(rest, route="run")
    job_id = await rest.generate()
    await rest.until(job_id)
    await status_of(rest, started["id"], "COMPLETED")
    _, page = await rest.ask("GET", "/jobs")

    assert 1 == most
    assert {job_id, started["id"]} == {job["job_id"] for job in page["jobs"]}


async def test_kept_answers_have_a_size_together_and_the_newest_stays(rest, clip):
    jobs = RunPodJobs(rest.worker, Webhooks(secret=None), limit=9, kept_characters=clip.stat().st_size)
    ids = []
    for number in range(3):
        ids.append(jobs.start({"input": {**INPUT, "seed": number}}, is_sync=True))
        await jobs.wait(ids[-1], 20)

    assert "COMPLETED" == jobs.status(ids[2])["status"]
    for forgotten in ids[:2]:
        with pytest.raises(UnknownJob):
            jobs.status(forgotten)


async def test_a_long_job_is_kept_although_many_short_ones_began_after_it(rest, clip):
    jobs = RunPodJobs(rest.worker, Webhooks(secret=None), limit=9, kept_characters=clip.stat().st_size)
    gate, began = asyncio.Event(), asyncio.Event()

    async def paint(spec, path, _report):
        if spec.seed == INPUT["seed"]:
            began.set()
            await gate.wait()
        path.write_bytes(clip.read_bytes())

    rest.engine.act = paint
    long = jobs.start({"input": INPUT}, is_sync=False)
    await began.wait()
    for _ in range(32):
        short = jobs.start({"input": {"health": True}}, is_sync=True)
        assert "COMPLETED" == (await jobs.wait(short, 20))["status"]
    gate.set()

    assert "COMPLETED" == (await jobs.wait(long, 20))["status"]
    with pytest.raises(UnknownJob):
        jobs.status(short)  # it is the older one of two that are too large together
