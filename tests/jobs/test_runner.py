"""The queue: order, room, calling off, heartbeats, and ends that a render did not record itself."""

import asyncio
import contextlib
import dataclasses
import threading

import pytest

from fakes.other_workers import request
from fakes.volumes import Volume
from wanworker.errors import EngineFailed, EngineTimeout, RequestIdReused, UnknownJob
from wanworker.jobs.model import JobError, JobStatus
from wanworker.jobs.runner import QueueFull, Runner
from wanworker.jobs.store.job_store import JobStore
from wanworker.progress import AtPlace, AwaitsTurn, Progress

INTERRUPTED = JobError("INTERRUPTED", "interrupted", "")


class Renders:
    """A render function that does what a test says, and notes what it was given."""

    def __init__(self, store):
        self.store = store
        self.seen = []
        self.began = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.failure = None
        self.stopped = False

    async def __call__(self, job, report):
        self.seen.append(job.request_id)
        self.began.set()
        report(Progress("sampling", 0.5, 1, 2, 4.0))
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.stopped = True
            raise
        if self.failure is not None:
            raise self.failure
        started = self.store.update(job, status=JobStatus.RUNNING)
        return self.store.update(started, status=JobStatus.COMPLETED)


@pytest.fixture
def store(settings):
    return JobStore(settings.jobs_dir)


@pytest.fixture
def renders(store):
    return Renders(store)


@pytest.fixture
def ended():
    return []


@pytest.fixture
async def runner(store, renders, ended):
    made = Runner(store, renders, limit=3, on_end=lambda *what: ended.append(what), look_s=0.01)
    task = asyncio.create_task(made.run())
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def given(name):
    """Return what `submit` takes: a function that returns the request and no place."""
    return lambda: (request(name), None)


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.002)


async def test_jobs_render_one_by_one_in_their_order(runner, renders, ended, store):
    for name in ("a", "b", "c"):
        job = await runner.submit(given(name))
        assert JobStatus.QUEUED is job.status
    await until(lambda: len(ended) == 3)

    assert ["a", "b", "c"] == renders.seen == [request_id for request_id, _ in ended]
    assert {JobStatus.COMPLETED} == {job.status for _, job in ended}
    assert None is runner.find("a")


async def test_more_than_may_wait_is_refused_with_a_time(runner, renders):
    renders.go_on.clear()
    await runner.submit(given("renders"))
    await renders.began.wait()
    for number in range(3):
        await runner.submit(given(f"waits-{number}"))

    with pytest.raises(QueueFull) as refused:
        await runner.submit(given("too-many"))
    assert 4 == refused.value.retry_after_s
    assert (1, 3) == (runner.position("waits-0"), runner.position("waits-2"))


async def test_a_job_that_waits_is_called_off_at_once(runner, renders, store, ended):
    renders.go_on.clear()
    await runner.submit(given("renders"))
    await renders.began.wait()
    await runner.submit(given("waits"))
    found = await runner.cancel("waits")
    renders.go_on.set()
    await until(lambda: len(ended) == 2)

    assert found
    assert JobStatus.CANCELLED is store.find("waits").status
    assert ["renders"] == renders.seen


async def test_a_render_is_stopped_before_cancel_returns(runner, renders, store):
    renders.go_on.clear()
    await runner.submit(given("a"))
    await renders.began.wait()
    found = await runner.cancel("a")

    assert found
    assert renders.stopped
    assert JobStatus.CANCELLED is store.find("a").status
    assert not await runner.cancel("a")


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (EngineFailed("fell over"), JobStatus.ERROR, "ENGINE_FAILED"),
        (EngineTimeout("too long"), JobStatus.TIMEOUT, "ENGINE_TIMEOUT"),
        (ZeroDivisionError("secret"), JobStatus.ERROR, "INTERNAL"),
    ],
)
async def test_a_failure_before_the_render_had_a_record_is_recorded(
    runner, renders, store, ended, failure, status, code
):
    renders.failure = failure
    await runner.submit(given("a"))
    await until(lambda: ended)
    job = store.find("a")

    assert (status, code) == (job.status, job.error.code)
    assert "secret" not in job.error.text
    assert job == ended[0][1]


async def test_the_queue_goes_on_after_a_failure(runner, renders, ended):
    renders.failure = EngineFailed("fell over")
    await runner.submit(given("a"))
    await until(lambda: ended)
    renders.failure = None
    await runner.submit(given("b"))
    await until(lambda: len(ended) == 2)

    assert JobStatus.COMPLETED is ended[1][1].status


async def test_progress_never_falls_and_wakes_who_waits(runner, renders, store):
    renders.go_on.clear()
    await runner.submit(given("a"))
    await renders.began.wait()
    live = runner.find("a")
    changed = live.changed
    live.take(Progress("decoding", 0.2))

    assert changed.is_set()
    assert not live.changed.is_set()
    assert (50.0, "decoding") == (live.percent, live.progress.stage)


async def test_a_waiting_job_that_another_host_gave_up_leaves_the_queue_and_is_not_called_deleted(
    runner, renders, store, ended, settings
):
    renders.go_on.clear()
    await runner.submit(given("renders"))
    await renders.began.wait()
    await runner.submit(given("waits"))
    store.update(store.find("waits"), status=JobStatus.ERROR, error=INTERRUPTED)
    await until(lambda: runner.find("waits") is None)

    assert [] == ended
    assert await runner.resume(request("waits"))
    assert 2 == store.find("waits").attempt


async def test_a_submission_that_is_called_off_in_mid_claim_leaves_no_job_that_nobody_ends(settings, renders):
    claiming, go_on = threading.Event(), threading.Event()

    def hold(call):
        if call == "append":
            claiming.set()
            assert go_on.wait(10)

    store = JobStore(settings.jobs_dir, files=Volume(hold))
    submitting = asyncio.create_task(Runner(store, renders, limit=3).submit(given("a")))
    await asyncio.to_thread(claiming.wait, 10)
    submitting.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await submitting

    assert JobStatus.CANCELLED is store.find("a").status


async def test_a_job_that_another_process_deleted_leaves_the_queue(runner, renders, store, ended):
    renders.go_on.clear()
    await runner.submit(given("renders"))
    await renders.began.wait()
    await runner.submit(given("waits"))
    store.delete("waits")
    await until(lambda: ended)

    assert [("waits", None)] == ended


async def test_a_stop_leaves_every_job_to_be_taken_up(store, renders, ended):
    runner = Runner(store, renders, limit=3, on_end=lambda *what: ended.append(what))
    renders.go_on.clear()
    task = asyncio.create_task(runner.run())
    await runner.submit(given("renders"))
    await renders.began.wait()
    await runner.submit(given("waits"))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert renders.stopped
    assert [JobStatus.CANCELLED] * 2 == [store.find(name).status for name in ("renders", "waits")]
    assert [] == ended


async def test_an_id_of_another_request_is_refused(runner, store):
    store.claim(request("a"))

    with pytest.raises(RequestIdReused):
        await runner.submit(lambda: (dataclasses.replace(request("a"), spec_hash="another"), None))
    assert 0 == runner.waiting


async def test_a_job_that_never_was_is_not_found(runner, store):
    assert None is runner.find("a")
    assert not await runner.cancel("a")
    with pytest.raises(UnknownJob):
        store.find("a")


async def test_as_many_jobs_render_at_once_as_there_are_slots(store, renders, ended):
    renders.go_on.clear()
    runner = Runner(store, renders, limit=9, slots={"here": 2}, on_end=lambda *what: ended.append(what))
    task = asyncio.create_task(runner.run())
    for name in ("a", "b", "c", "d"):
        await runner.submit(given(name))
    await until(lambda: len(renders.seen) == 2)

    assert ["a", "b"] == [live.job.request_id for live in runner.running]
    assert (2, 1, 2) == (runner.waiting, runner.position("c"), runner.position("d"))
    assert await runner.cancel("a")
    await until(lambda: len(renders.seen) == 3)
    renders.go_on.set()
    await until(lambda: len(ended) == 4)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert ["a", "b", "c", "d"] == renders.seen
    assert ("a", JobStatus.CANCELLED) == (ended[0][0], ended[0][1].status)
    assert {JobStatus.COMPLETED} == {job.status for _, job in ended[1:]}


async def test_a_job_waits_for_the_slots_of_its_own_place_only(store, renders):
    async def place_of(job):
        if job.request_id.startswith("odd"):
            raise ZeroDivisionError
        return job.request_id.partition("-")[0]

    renders.go_on.clear()
    runner = Runner(store, renders, limit=9, slots={"here": 1, "there": 2}, place_of=place_of)
    task = asyncio.create_task(runner.run())
    for name in ("here-1", "here-2", "there-1", "odd", "there-2", "there-3"):
        await runner.submit(given(name))
    await until(lambda: len(renders.seen) == 3)
    waiting = [runner.position(name) for name in ("here-2", "odd", "there-3")]
    assert await runner.cancel("here-1")
    assert await runner.cancel("here-2")
    await until(lambda: len(renders.seen) == 4)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert [1, 2, 3] == waiting
    assert ["here-1", "there-1", "there-2", "odd"] == renders.seen


async def test_a_job_that_has_begun_and_awaits_its_turn_is_one_that_waits(store, renders):
    went_on = asyncio.Event()

    async def render(job, report):
        report(AwaitsTurn("queued", 0.0))
        await went_on.wait()
        return await renders(job, report)

    renders.go_on.clear()
    runner = Runner(store, render, limit=9)
    task = asyncio.create_task(runner.run())
    await runner.submit(given("a"))
    await until(lambda: runner.find("a").progress is not None)
    before = (runner.waiting, runner.position("a"), runner.running)
    went_on.set()
    await renders.began.wait()
    after = (runner.waiting, len(runner.running))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert (1, 1, ()) == before
    assert (0, 1) == after


async def test_every_render_is_stopped_and_recorded_when_a_queue_of_several_slots_stops(store, renders):
    renders.go_on.clear()
    runner = Runner(store, renders, limit=9, slots={"here": 2})
    task = asyncio.create_task(runner.run())
    for name in ("a", "b", "c"):
        await runner.submit(given(name))
    await until(lambda: len(renders.seen) == 2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert {"STOPPED"} == {store.find(name).error.code for name in ("a", "b", "c")}
    assert ["a", "b"] == renders.seen


class Lookups:
    """Say where a job will be by its name, each time once its gate is open."""

    def __init__(self):
        self.gates = {}
        self.asked = []

    async def __call__(self, job):
        name = job.request_id
        self.asked.append(name)
        if name in self.gates:
            await self.gates[name].wait()
        return name.partition("-")[0]

    def hold(self, name):
        self.gates[name] = asyncio.Event()
        return self.gates[name]


@contextlib.asynccontextmanager
async def at_work(runner):
    task = asyncio.create_task(runner.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_slot_that_gets_free_during_a_lookup_goes_to_the_job_that_came_first(store, renders):
    place_of = Lookups()
    gate = place_of.hold("here-3")
    renders.go_on.clear()
    runner = Runner(store, renders, limit=9, slots={"here": 1, "there": 1}, place_of=place_of)
    async with at_work(runner):
        for name in ("here-1", "here-2", "here-3"):
            await runner.submit(given(name))
        await until(lambda: "here-3" in place_of.asked)
        await runner.cancel("here-1")
        gate.set()
        await until(lambda: len(renders.seen) == 2)

    assert ["here-1", "here-2"] == renders.seen


async def test_a_job_whose_place_is_free_does_not_wait_for_the_lookup_of_another(store, renders):
    place_of = Lookups()
    place_of.hold("there-1")
    renders.go_on.clear()
    runner = Runner(store, renders, limit=9, slots={"here": 1, "there": 1}, place_of=place_of)
    async with at_work(runner):
        for name in ("here-1", "here-2", "there-1"):
            await runner.submit(given(name))
        await until(lambda: "there-1" in place_of.asked)
        await runner.cancel("here-1")
        await until(lambda: len(renders.seen) == 2)

    assert ["here-1", "here-2"] == renders.seen


async def test_a_job_that_is_called_off_while_its_place_is_looked_up_takes_no_slot(store, renders, ended):
    place_of = Lookups()
    gate = place_of.hold("here-1")
    slots = {"here": 1, "there": 1}
    runner = Runner(store, renders, limit=9, slots=slots, place_of=place_of, on_end=lambda *what: ended.append(what))
    async with at_work(runner):
        await runner.submit(given("here-1"))
        await until(lambda: place_of.asked)
        assert await runner.cancel("here-1")
        gate.set()
        await runner.submit(given("here-2"))
        await until(lambda: len(ended) == 2)

    assert [("here-1", JobStatus.CANCELLED), ("here-2", JobStatus.COMPLETED)] == [
        (name, job.status) for name, job in ended
    ]
    assert ["here-2"] == renders.seen


async def test_a_job_that_turns_out_to_be_elsewhere_has_a_slot_there_and_gives_up_its_own(store, renders):
    moves, late = asyncio.Event(), []

    async def render(job, report):
        late.append(report)
        if job.request_id == "here-1":
            await moves.wait()
            report(AtPlace("preparing", 0.0, place="there"))
        return await renders(job, report)

    renders.go_on.clear()
    runner = Runner(store, render, limit=9, slots={"here": 1, "there": 1}, place_of=Lookups())
    async with at_work(runner):
        for name in ("here-1", "here-2", "there-1"):
            await runner.submit(given(name))
        await until(lambda: len(late) == 2)
        assert ["there-1"] == renders.seen
        assert await runner.cancel("there-1")
        moves.set()
        await until(lambda: len(renders.seen) == 3)
        await runner.submit(given("there-2"))
        await until(lambda: runner.find("there-2").place is not None)
        waits = runner.find("there-2").task
        assert await runner.cancel("here-1")
        late[0](AtPlace("preparing", 0.0, place="here"))  # a report that comes too late takes no slot
        await until(lambda: len(renders.seen) == 4)

    assert waits is None
    assert ["there-1", "here-1", "here-2", "there-2"] == renders.seen


async def test_a_job_is_queued_until_the_first_word_of_its_render(store, renders):
    asked, began = asyncio.Event(), asyncio.Event()

    async def render(job, report):
        asked.set()
        await began.wait()
        return await renders(job, report)

    renders.go_on.clear()
    runner = Runner(store, render, limit=1)
    async with at_work(runner):
        await runner.submit(given("a"))
        await asked.wait()
        before = (runner.waiting, runner.position("a"), runner.running)
        await runner.submit(given("b"))  # the slot of the first is no place in the queue
        with pytest.raises(QueueFull, match="1 jobs are waiting, and the limit is 1"):
            runner.check_room()
        began.set()
        await renders.began.wait()
        after = (runner.waiting, runner.position("b"), len(runner.running))

    assert (1, 1, ()) == before
    assert (1, 1, 1) == after


@contextlib.asynccontextmanager
async def in_every_state(store):
    """Yield a runner with jobs that hang: with a turn, moved, waiting for it, for a slot, and for a place."""
    place_of, spoken = Lookups(), []
    words = {
        "here-1": Progress("sampling", 0.5),
        "there-1": AtPlace("preparing", 0.0, place="here"),
        "there-2": AwaitsTurn("queued", 0.0, place="there"),
    }

    async def render(job, report):
        if word := words.get(job.request_id):
            report(word)
        spoken.append(job.request_id)
        await asyncio.Event().wait()

    runner = Runner(store, render, limit=9, slots={"here": 2, "there": 1}, place_of=place_of)
    async with at_work(runner) as task:
        gate = place_of.hold("here-3")
        for name in ("here-1", "there-1", "there-2", "here-2", "here-3"):
            await runner.submit(given(name))
        await until(lambda: len(spoken) == 3 and "here-3" in place_of.asked)
        yield runner, task, spoken, gate


async def test_a_job_can_be_called_off_in_every_state_and_leaves_its_slot_free(store):
    async with in_every_state(store) as (runner, _, spoken, gate):
        for name in ("here-3", "here-2", "there-2", "there-1", "here-1"):
            assert await runner.cancel(name)
            assert JobStatus.CANCELLED is store.find(name).status
        gate.set()
        news = ("here-4", "here-5", "there-3")
        for name in news:
            await runner.submit(given(name))
        await until(lambda: set(news) <= set(spoken))

    assert {"STOPPED"} == {store.find(name).error.code for name in news}


async def test_a_stop_records_a_job_in_every_state_and_ends_a_cancellation_that_waits(store):
    names = ("here-1", "there-1", "there-2", "here-2", "here-3")
    async with in_every_state(store) as (runner, task, _, _):
        deleting = asyncio.create_task(runner.cancel("here-1"))
        await asyncio.sleep(0)  # the request waits for the end of the render, and the server stops
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await asyncio.wait_for(deleting, 10)

    assert [JobStatus.CANCELLED] * 5 == [store.find(name).status for name in names]


async def test_an_unforeseen_error_at_the_end_of_a_job_does_not_end_the_queue(settings, caplog):
    class Failing(JobStore):
        """A store that cannot record that job-1 failed."""

        def update(self, job, **changes):
            if job.request_id == "job-1" and changes.get("status") is JobStatus.ERROR:
                raise ValueError("no such change")
            return super().update(job, **changes)

    def hear(request_id, job):
        ended.append((request_id, job.status))
        raise RuntimeError("the listener failed")

    ended, store = [], Failing(settings.jobs_dir)
    renders = Renders(store)
    runner = Runner(store, renders, limit=3, on_end=hear)
    running = asyncio.create_task(runner.run())
    renders.failure = EngineFailed("broken")
    await runner.submit(given("job-1"))
    await until(lambda: ended)
    renders.failure = None
    await runner.submit(given("job-2"))
    await until(lambda: len(ended) == 2)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    assert ended == [("job-1", JobStatus.ERROR), ("job-2", JobStatus.COMPLETED)]
    assert {"no such change", "the listener failed"} == {
        str(record.exc_info[1]) for record in caplog.records if record.exc_info
    }
