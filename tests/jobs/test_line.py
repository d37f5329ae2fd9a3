"""The line of a queue: its counts and places are those that a walk over all jobs would find."""

import asyncio
import dataclasses
import random

from fakes.other_workers import request
from wanworker.jobs._active_job import ActiveJob
from wanworker.jobs._line import Line
from wanworker.jobs.store.job_store import JobStore
from wanworker.progress import AwaitsTurn, Progress


async def _hang():
    await asyncio.Event().wait()


async def test_what_is_counted_is_what_a_walk_would_find(settings):
    draw, line, model = random.Random(7), Line(), []
    job = JobStore(settings.jobs_dir).claim(request("a"), queued=True).job
    task = asyncio.create_task(_hang())

    def live(name):
        return ActiveJob(dataclasses.replace(job, request_id=name))

    for number in range(600):
        each = draw.choice(model) if model else None
        act = draw.choice(("put", "put", "again", "begin", "render", "wait", "remove", "late"))
        if act == "put" or each is None:
            model.append(live(f"job-{number}"))
            line.put(model[-1])
        elif act == "again":
            model.remove(each)
            model.append(live(each.job.request_id))
            line.put(model[-1])
        elif act == "begin":
            each.task = task
            line.note(each)
        elif act in {"render", "wait"}:
            each.task, before = task, each.is_rendering
            each.take(Progress("sampling", 0.5) if act == "render" else AwaitsTurn("queued", 0.0))
            assert line.note(each) is (each.is_rendering is not before)
        else:
            model.remove(each)
            line.remove(each)
            if act == "late":  # a report of a job that has left counts no more
                each.take(Progress("sampling", 0.9))
                assert not line.note(each)
                line.remove(each)
        waiting = [each.job.request_id for each in model if not each.is_rendering]
        assert model == list(line)
        assert len(waiting) == line.waiting
        assert sum(each.takes_room for each in model) == line.taking_room
        assert tuple(each for each in model if each.is_rendering) == line.rendering
        if number % 3 == 0:  # and where nobody asked for a place since the last changes
            assert list(range(1, len(waiting) + 1)) == [line.position(name) for name in waiting]
    task.cancel()


async def test_who_waits_for_a_change_is_woken_by_the_next_one_only(settings):
    live = ActiveJob(JobStore(settings.jobs_dir).claim(request("a"), queued=True).job)
    live.touch()
    first = live.changed
    assert not first.is_set()
    assert first is live.changed
    live.touch()
    assert first.is_set()
    assert not live.changed.is_set()
