"""What stands beside `input` at RunPod's routes: the policy of a job, and the webhook that hears of its end."""

import asyncio
import json

import pytest

from fakes.webhook_receiver import Receiver
from wanworker.rest.service.runpod_jobs import RunPodJobs
from wanworker.rest.service.webhooks import Network, Webhooks

INPUT = {"action": "generate", "task": "t2v-A14B", "prompt": "a cat", "size": "64*64", "frame_num": 5, "seed": 3}
HEALTH = {"health": True}


class Clock:
    """Timers that end when the test says so."""

    def __init__(self):
        self.set = []

    def __call__(self, wait_s, action):
        timer = asyncio.get_running_loop().call_later(3600, action)
        self.set.append((wait_s, action, timer))
        return timer

    def running(self):
        return [wait_s for wait_s, _, timer in self.set if not timer.cancelled()]

    def run_out(self, wait_s):
        (action,) = (action for each, action, timer in self.set if each == wait_s and not timer.cancelled())
        action()


def hooks(waits=None, **changes):
    async def sleep(seconds):
        if waits is not None:
            waits.append(seconds)

    return Webhooks(secret=None, allow_hosts=changes.pop("allow_hosts", ("127.0.0.1",)), network=Network(sleep=sleep))


@pytest.fixture
async def jobs_of(rest):
    """Return a function that makes the jobs of a server with other clocks; they are stopped at the end."""
    made = []

    def make(webhooks=None, **changes):
        made.append(RunPodJobs(rest.worker, webhooks or hooks(), limit=9, **changes))
        return made[-1]

    yield make
    for jobs in made:
        await jobs.close()


def held(rest):
    """Let renders wait for ever. Return what is set once one has begun."""
    began = asyncio.Event()

    async def hang(_spec, _path, _report):
        began.set()
        await asyncio.Event().wait()

    rest.engine.act = hang
    return began


@pytest.mark.parametrize(
    ("extra", "field"),
    [
        ({"policy": []}, "policy"),
        ({"policy": "5"}, "policy"),
        ({"policy": {"executionTimeout": 4_999}}, "policy.executionTimeout"),
        ({"policy": {"executionTimeout": "soon"}}, "policy.executionTimeout"),
        ({"policy": {"ttl": 604_800_001}}, "policy.ttl"),
        ({"policy": {"ttl": True}}, "policy.ttl"),
        ({"policy": {"lowPriority": "perhaps"}}, "policy.lowPriority"),
        ({"webhook": 5}, "webhook"),
        ({"webhook": "ftp://example.com/a"}, "webhook"),
        ({"webhook": "here"}, "webhook"),
    ],
)
async def test_a_wrong_term_is_refused_by_its_name(rest, extra, field):
    status, failure = await rest.ask("POST", "/v2/x/run", json={"input": INPUT, **extra})

    assert (422, field) == (status, failure["field"]), failure
    assert field in failure["error"]
    assert [] == rest.engine.seen


@pytest.mark.parametrize(("given", "told"), [(True, "true"), ("1_0000_0", "'1_0000_0'")])
@pytest.mark.parametrize("name", ["ttl", "executionTimeout"])
async def test_a_number_of_the_policy_is_read_as_any_other_field_is(rest, name, given, told):
    body = {"input": INPUT, "policy": {name: given}}
    status, failure = await rest.ask("POST", "/v2/x/run", json=body)

    assert (422, f"policy.{name} must be a number; got {told}.") == (status, failure["error"])


async def test_what_has_no_effect_is_told(rest):
    policy = {"lowPriority": True, "ttl": 10_000, "executionTimeout": "5000", "exectionTimeout": 1}
    _, answer = await rest.ask("POST", "/v2/x/runsync", json={"input": HEALTH, "policy": policy})
    warnings = answer["output"]["warnings"]

    assert any("policy.lowPriority" in line for line in warnings)
    assert any("policy.exectionTimeout" in line for line in warnings)


@pytest.mark.parametrize("name", ["ttl", "executionTimeout"])
async def test_a_job_that_runs_out_of_time_is_timed_out_and_stopped(rest, jobs_of, name):
    clock, began = Clock(), held(rest)
    jobs = jobs_of(call_later=clock)
    job_id = jobs.start({"input": INPUT, "policy": {name: 30_000}}, is_sync=False)
    await began.wait()
    clock.run_out(30.0)
    ended = await jobs.wait(job_id, 20)

    assert "TIMED_OUT" == ended["status"]
    assert f"policy.{name}" in ended["error"]
    assert rest.engine.stopped
    assert [] == clock.running()


@pytest.mark.parametrize("second", ["ttl", "cancel", "close"])
async def test_a_job_that_is_being_stopped_is_not_stopped_again(rest, jobs_of, second):
    clock, began, stopping, gate = Clock(), asyncio.Event(), asyncio.Event(), asyncio.Event()
    cuts = []

    async def hang(_spec, _path, _report):
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopping.set()
            try:
                await gate.wait()
            except asyncio.CancelledError:
                cuts.append(second)
                raise

    rest.engine.act = hang
    jobs = jobs_of(call_later=clock)
    policy = {"executionTimeout": 7_000, "ttl": 60_000}
    job_id = jobs.start({"input": INPUT, "policy": policy}, is_sync=False)
    await began.wait()
    clock.run_out(7.0)
    await stopping.wait()
    if second == "ttl":
        clock.run_out(60.0)
    else:
        again = asyncio.create_task(jobs.cancel(job_id) if second == "cancel" else jobs.close())
        done, _ = await asyncio.wait({again}, timeout=0)  # it has its turn, and then waits
        assert not done
    gate.set()
    ended = await jobs.wait(job_id, 20)

    assert [] == cuts
    assert "The job did not end within policy.executionTimeout." == ended["error"]


async def test_the_wait_for_a_turn_counts_for_ttl_and_not_for_execution(rest, jobs_of):
    clock, began = Clock(), held(rest)
    jobs = jobs_of(call_later=clock)
    first = jobs.start({"input": INPUT}, is_sync=False)
    await began.wait()
    policy = {"executionTimeout": 7_000, "ttl": 60_000}
    second = jobs.start({"input": {**INPUT, "seed": 4}, "policy": policy}, is_sync=False)
    async with asyncio.timeout(20):
        while 7.0 in clock.running():
            await asyncio.sleep(0.01)
    waiting = (clock.running(), jobs.status(second)["status"])
    began.clear()
    await jobs.cancel(first)
    await began.wait()

    assert ([60.0], "IN_QUEUE") == waiting
    assert [60.0, 7.0] == clock.running()


async def test_the_webhook_gets_what_status_shows(serve):
    async with Receiver() as receiver, serve(allow_hosts=("127.0.0.1",)) as rest:
        body = {"input": INPUT, "webhook": receiver.url}
        _, answer = await rest.ask("POST", "/v2/x/runsync", json=body)
        async with asyncio.timeout(20):
            await receiver.came.wait()
        _, status = await rest.ask("GET", f"/v2/x/status/{answer['id']}")

    assert "COMPLETED" == status["status"]
    assert [status] == [json.loads(sent) for _, sent in receiver.received]


@pytest.mark.parametrize("end", ["TIMED_OUT", "CANCELLED"])
async def test_the_webhook_hears_of_other_ends_too(rest, jobs_of, end):
    clock, began = Clock(), held(rest)
    async with Receiver() as receiver:
        jobs = jobs_of(call_later=clock)
        body = {"input": INPUT, "policy": {"ttl": 30_000}, "webhook": receiver.url}
        job_id = jobs.start(body, is_sync=False)
        await began.wait()
        if end == "CANCELLED":
            await jobs.cancel(job_id)
        else:
            clock.run_out(30.0)
        async with asyncio.timeout(20):
            await receiver.came.wait()

    assert end == json.loads(receiver.received[0][1])["status"]


async def test_a_webhook_is_sent_three_times_and_its_failure_changes_nothing(rest, jobs_of):
    waits = []
    async with Receiver([500, 500, 204]) as receiver:
        jobs = jobs_of(hooks(waits))
        job_id = jobs.start({"input": HEALTH, "webhook": receiver.url}, is_sync=True)
        ended = await jobs.wait(job_id, 20)
        async with asyncio.timeout(20):
            while len(receiver.received) < 3:
                await asyncio.sleep(0.01)

    assert "COMPLETED" == ended["status"]
    assert [10.0, 10.0] == waits


async def test_a_private_webhook_is_never_connected_to(rest, jobs_of, caplog):
    async with Receiver() as receiver:
        jobs = jobs_of(hooks(allow_hosts=()))
        job_id = jobs.start({"input": HEALTH, "webhook": receiver.url}, is_sync=True)
        ended = await jobs.wait(job_id, 20)
        async with asyncio.timeout(20):
            while "was not sent" not in caplog.text:
                await asyncio.sleep(0.01)

    assert "COMPLETED" == ended["status"]
    assert [] == receiver.received
    assert "secret" not in caplog.text


async def test_a_webhook_that_a_stop_cuts_off_is_delivered_by_the_next_start(serve, settings):
    async with Receiver([500]) as receiver:
        body = {"input": INPUT, "webhook": receiver.url}
        async with serve(allow_hosts=("127.0.0.1",)) as rest:
            _, answer = await rest.ask("POST", "/v2/x/runsync", json=body)
            async with asyncio.timeout(20):
                await receiver.came.wait()
        receiver.came.clear()
        async with serve(allow_hosts=("127.0.0.1",)) as rest, asyncio.timeout(20):
            await receiver.came.wait()
            while list((settings.jobs_dir / "ends").glob("*.json")):
                await asyncio.sleep(0.01)

    assert "COMPLETED" == answer["status"]
    assert [answer] * 2 == [json.loads(sent) for _, sent in receiver.received]
    assert 1 == len({headers["webhook-id"] for headers, _ in receiver.received})


async def test_the_webhook_of_a_job_that_ended_with_its_server_hears_that_it_failed(serve, engine):
    began = asyncio.Event()

    async def hang(_spec, _path, _report):
        began.set()
        await asyncio.Event().wait()

    engine.act = hang
    async with Receiver() as receiver:
        async with serve(allow_hosts=("127.0.0.1",)) as rest:
            body = {"input": INPUT, "webhook": receiver.url}
            _, answer = await rest.ask("POST", "/v2/x/run", json=body)
            await began.wait()
        assert [] == receiver.received
        async with serve(allow_hosts=("127.0.0.1",)), asyncio.timeout(20):
            await receiver.came.wait()

    [(_, sent)] = receiver.received
    shown = json.loads(sent)
    assert (answer["id"], "FAILED") == (shown["id"], shown["status"])
    assert "send the job again" in shown["error"]


async def test_a_job_is_answered_once_its_webhook_is_on_the_volume(serve, settings, engine):
    engine.act = lambda *_: asyncio.Event().wait()
    async with Receiver() as receiver, serve(allow_hosts=("127.0.0.1",)) as rest:
        _, answer = await rest.ask("POST", "/v2/x/run", json={"input": INPUT, "webhook": receiver.url})
        there = [path.stem for path in (settings.jobs_dir / "ends").glob("*.json")]

    assert [answer["id"]] == there


async def test_a_job_that_is_stopped_before_its_first_step_has_ended(rest, jobs_of):
    jobs = jobs_of()
    stopped = [await jobs.cancel(jobs.start({"input": INPUT}, is_sync=False)) for _ in range(12)]  # the limit is 9

    assert ["CANCELLED"] * 12 == [job["status"] for job in stopped]
    assert [] == rest.engine.seen
