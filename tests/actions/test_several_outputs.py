"""Several outputs of one job, from the request to the answer: seeds, failures, cancellation, uploads, the limit."""

import asyncio
import base64
import io
import json
import shutil

import pytest
from PIL import Image

from fakes.engine import ScriptedEngine, write_clip
from fakes.sink import BROKEN, sink
from wanworker.actions.base import Call
from wanworker.app import Worker
from wanworker.errors import DiskFull, EngineFailed, EngineTimeout, InputRefused, InvalidRequest, ModelNotFound
from wanworker.jobs.model import JobStatus

FIELDS = {"action": "generate", "task": "t2v-A14B", "prompt": "a cat", "size": "64*64", "frame_num": 5, "seed": 7}
URI = "data:video/mp4;base64,"
SECRET = "?X-Amz-Signature=hush-hush-hush"


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4")


@pytest.fixture
def engine(clip):
    return ScriptedEngine(clip)


@pytest.fixture
async def worker(make_settings, engine):
    made = Worker(make_settings(allow_hosts=("127.0.0.1",)), engines=(engine.row(),))
    yield made
    await made.close()


def failing(engine, *seeds, error=None):
    """Let the outputs with *seeds* fail, and make the others."""

    def act(spec, path, _report):
        if spec.seed in seeds:
            raise error or EngineFailed(f"the card fell out at {spec.seed}")
        shutil.copyfile(engine.clip, path)

    engine.act = act


async def ask(worker, seen=None, *, limit=10**7, **fields):
    call = Call("job-1", None, lambda progress: seen is not None and seen.append(progress), limit)
    return await worker.perform({**FIELDS, **fields}, call)


async def test_each_output_has_its_seed_its_file_and_its_delivery(worker, engine, settings):
    seen = []
    answer = await ask(worker, seen, num_outputs=3)

    assert [spec.seed for spec in engine.seen] == [7, 8, 9]
    assert [each["seed"] for each in answer["results"]] == [7, 8, 9]
    names = ["job-1.mp4", "job-1.2.mp4", "job-1.3.mp4"]
    assert [each["filename"] for each in answer["results"]] == names
    assert sorted(names) == sorted(path.name for path in settings.out_dir.glob("*.mp4"))
    assert (answer["seed"], answer["result"]["filename"]) == (7, "job-1.mp4")
    assert answer["result"]["data"].startswith(URI)
    assert [each["delivery"]["how"] for each in answer["results"]] == ["base64"] * 3
    assert ["data" in each for each in answer["results"]] == [False, True, True]
    assert all(each["video"]["frames"] == 5 for each in answer["results"])
    fractions = [progress.fraction for progress in seen]
    assert fractions == sorted(fractions)
    assert [round(fraction, 3) for fraction in fractions[1:]] == [0.167, 0.5, 0.833]
    assert seen[-1].detail == "output 3 of 3"
    ended = worker.store.find("job-1").progress
    assert (ended["progress"], ended["stage"], ended["eta_s"]) == (100.0, "done", 0.0)
    assert "detail" not in ended


async def test_one_output_is_answered_as_ever(worker):
    answer = await ask(worker, num_outputs=1)

    assert "results" not in answer
    assert "thumbnail" not in answer
    assert worker.store.find("job-1").outputs[0].seed is None


async def test_the_same_request_again_answers_all_from_the_store(worker, engine):
    failing(engine, 8)
    first = await ask(worker, num_outputs=3)
    second = await ask(worker, num_outputs=3)
    status = await worker.perform({"request_id": "job-1"}, Call("x", None, lambda _: None, 10**7))

    assert (len(engine.seen), first["results"]) == (3, second["results"])
    assert status["results"] == first["results"]


@pytest.mark.parametrize("lost", [(7,), (8,), (7, 9)])
async def test_an_output_that_fails_does_not_take_the_others_along(worker, engine, lost):
    failing(engine, *lost)
    answer = await ask(worker, num_outputs=3)
    made = [each for each in answer["results"] if "error" not in each]

    assert [each["seed"] for each in answer["results"]] == [7, 8, 9]
    assert answer["status"]["status"] == "COMPLETED"
    assert answer["result"]["filename"] == made[0]["filename"]
    assert answer["seed"] == made[0]["seed"]
    for each in answer["results"]:
        if each["seed"] in lost:
            assert (each["status"], each["code"]) == ("ERROR", "ENGINE_FAILED")
            assert each["error"] == f"the card fell out at {each['seed']}"
            number = each["seed"] - 6
            assert f"output {number} (seed {each['seed']}) failed: {each['error']}" in answer["warnings"]


async def test_a_job_none_of_whose_outputs_was_made_fails_with_the_first_error(worker, engine):
    failing(engine, 7, 8)
    with pytest.raises(EngineFailed, match="the card fell out at 7"):
        await ask(worker, num_outputs=2)
    assert worker.store.find("job-1").status is JobStatus.ERROR


async def test_what_the_engine_refuses_is_not_tried_again(worker, engine):
    failing(engine, 7, 8, error=ModelNotFound("no such LoRA"))
    with pytest.raises(ModelNotFound):
        await ask(worker, num_outputs=2)
    assert len(engine.seen) == 1


async def test_a_seed_at_the_end_of_its_range_goes_on_at_0(worker, engine):
    answer = await ask(worker, num_outputs=2, seed=2**64 - 1)

    assert [each["seed"] for each in answer["results"]] == [2**64 - 1, 0]


async def test_the_deadline_stops_the_rest_and_keeps_what_is_done(worker, engine):
    async def act(spec, path, _report):
        if spec.seed == 8:
            await asyncio.Event().wait()
        shutil.copyfile(engine.clip, path)

    engine.act = act
    answer = await ask(worker, num_outputs=3, timeout=1)

    assert [each.get("code") for each in answer["results"]] == [None, "ENGINE_TIMEOUT", "ENGINE_TIMEOUT"]
    assert engine.stopped
    assert len(engine.seen) == 2


async def test_a_full_disk_stops_the_rest_and_keeps_what_is_done(worker, engine):
    failing(engine, 8, error=DiskFull("too little space for output 2"))
    answer = await ask(worker, num_outputs=3)

    assert [each.get("code") for each in answer["results"]] == [None, "DISK_FULL", "DISK_FULL"]
    assert answer["status"]["status"] == "COMPLETED"
    assert len(engine.seen) == 2


async def test_a_deadline_before_the_first_output_is_a_timeout(worker, engine):
    engine.act = lambda *_: asyncio.Event().wait()
    with pytest.raises(EngineTimeout):
        await ask(worker, num_outputs=2, timeout=1)


async def test_cancelling_stops_the_rest_and_keeps_what_is_done(worker, engine, settings):
    reached = asyncio.Event()

    async def act(spec, path, _report):
        if spec.seed == 8:
            path.write_bytes(b"half a file")
            reached.set()
            await asyncio.Event().wait()
        shutil.copyfile(engine.clip, path)

    engine.act = act
    task = asyncio.create_task(ask(worker, num_outputs=3))
    await asyncio.wait_for(reached.wait(), 20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    job = worker.store.find("job-1")
    status = await worker.perform({"request_id": "job-1"}, Call("x", None, lambda _: None, 10**7))

    assert (job.status, [output.seed for output in job.outputs]) == (JobStatus.CANCELLED, [7])
    assert [str(settings.out_dir / "job-1.mp4")] == status["status"]["outputs"]
    assert [path.name for path in settings.out_dir.glob("*.mp4")] == ["job-1.mp4"]
    assert list(settings.out_dir.glob(".*.part*")) == []


async def test_base64_fills_the_answer_in_order(worker, clip):
    room = len(base64.b64encode(clip.read_bytes()))
    limit = 2 * room + 4096 + 4000
    answer = await ask(worker, num_outputs=3, limit=limit)

    assert answer["results"][0]["delivery"]["how"] == "base64"
    assert answer["results"][2]["delivery"]["how"] != "base64"
    assert all("path" in each or "data" in each for each in answer["results"])
    assert len(json.dumps(answer)) <= limit


async def test_two_of_three_uploaded_nothing_is_lost_and_all_is_said(worker, clip):
    async with sink(by_path={"/1.mp4": 403}) as server:
        urls = [f"{server.url}/{number}.mp4{SECRET}" for number in range(3)]
        answer = await ask(worker, num_outputs=3, output_upload_urls=urls)
    job = (worker.settings.jobs_dir / "x").parent
    stored = b"".join(path.read_bytes() for path in job.rglob("*") if path.is_file())

    first, second, third = answer["results"]
    assert [each["delivery"]["how"] for each in answer["results"]] == ["upload_url", "base64", "upload_url"]
    assert [size for _, _, size in server.received] == [clip.stat().st_size] * 3
    assert base64.b64decode(second["data"].removeprefix(URI)) == clip.read_bytes()
    assert "data" not in answer["result"]
    assert all("path" in each for each in (answer["result"], first, third))
    assert second["delivery"]["reason"] == (
        "output_upload_urls[1] did not take the file: HTTP 403. It fits into the answer."
    )
    assert answer["warnings"][-1] == (
        "output_upload_urls[1] did not take the file: HTTP 403. It was delivered otherwise: base64."
    )
    assert "hush" not in json.dumps(answer)
    assert b"hush" not in stored


async def test_the_url_of_an_output_that_failed_gets_nothing(worker, engine):
    failing(engine, 7)
    async with sink() as server:
        urls = [f"{server.url}/{number}.mp4{SECRET}" for number in range(2)]
        answer = await ask(worker, num_outputs=2, output_upload_urls=urls)

    assert [path for path, _, _ in server.received] == [f"/1.mp4{SECRET}"]
    assert answer["delivery"]["how"] == "upload_url"


async def test_a_failed_upload_of_an_only_output_is_said_and_delivered_otherwise(worker, clip):
    async with sink([404]) as server:
        answer = await ask(worker, output_upload_urls=f"{server.url}/a.mp4{SECRET}", return_video=False)

    assert (answer["delivery"]["how"], "path" in answer["result"]) == ("path", True)
    assert "output_upload_urls[0] did not take the file: HTTP 404." in answer["delivery"]["reason"]
    assert "delivered otherwise: path" in answer["warnings"][-1]


@pytest.mark.parametrize(
    ("urls", "error"),
    [
        (["https://example.com/a"] * 2, InvalidRequest),
        (["http://10.0.0.1/hush"], InputRefused),
        (["hush"], InputRefused),
        ([{"url": "hush"}], InvalidRequest),
        ({"hush": 1}, InvalidRequest),
    ],
)
async def test_urls_that_cannot_be_used_are_refused_before_the_render(worker, engine, urls, error):
    with pytest.raises(error) as caught:
        await ask(worker, output_upload_urls=urls)
    assert "hush" not in f"{caught.value}{caught.value.hint}"
    assert engine.seen == []


async def test_a_thumbnail_is_the_first_frame_of_each_output(worker):
    answer = await ask(worker, num_outputs=2, thumbnail=True)
    pictures = [answer["thumbnail"], answer["results"][1]["thumbnail"]]

    for text in pictures:
        opened = Image.open(io.BytesIO(base64.b64decode(text.removeprefix("data:image/jpeg;base64,"))))
        assert (opened.format, opened.size) == ("JPEG", (64, 48))
        assert abs(opened.convert("L").getpixel((30, 20)) - 40) < 6
    assert pictures[0] == pictures[1]


async def test_a_thumbnail_that_does_not_fit_is_left_out_and_that_is_said(worker):
    answer = await ask(worker, thumbnail=True, limit=4500)

    assert "thumbnail" not in answer
    assert any(line.startswith("A thumbnail was left out: the answer has no room") for line in answer["warnings"])


async def test_the_quality_is_that_of_crf_and_the_bytes_are_the_same_each_time(worker, make_settings, clip, engine):
    async def made(request_id, **fields):
        answer = await ask(worker, request_id=request_id, **fields)
        return base64.b64decode(answer["result"]["data"].removeprefix(URI))

    rough, again = await made("a", crf=51), await made("b", crf=51)

    assert rough == again
    assert rough != clip.read_bytes()
    assert await made("c") == clip.read_bytes()


async def test_a_broken_connection_is_tried_again_and_the_answer_has_no_word_of_it(worker):
    async with sink([BROKEN]) as server:  # aiohttp itself sends it once more
        answer = await ask(worker, output_upload_urls=[f"{server.url}/a.mp4"])

    assert (answer["delivery"]["how"], answer["warnings"]) == ("upload_url", ["a word from the engine"])
