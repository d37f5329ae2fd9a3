"""A run on a server that may die: how often it is begun, under which names, and what is told."""

from __future__ import annotations

import asyncio

import pytest

from wanworker.comfyui.server.process import End
from wanworker.engines.base import Rendered
from wanworker.engines.comfyui._restart import ServerDied, with_one_restart
from wanworker.errors import EngineFailed, EngineUnavailable, OutOfMemory

CRASH = "It ended with exit code 134."


class Mortal:
    """What is asked of a Server: whether it is ours, and how it last ended."""

    def __init__(self, *, is_local=True):
        self.is_local = is_local
        self.last_end = None

    def die(self, *, out_of_memory=False):
        self.last_end = End(CRASH, out_of_memory)


class Runs:
    """Runs on *server* that do what is listed, one after another, and note the names that they are given."""

    def __init__(self, server, *deeds):
        self.server, self.deeds, self.names, self.left = server, list(deeds), [], 0

    async def __call__(self, attempt):
        self.names.append(attempt.run_id)
        try:
            deed = self.deeds.pop(0)
            attempt.is_queued = deed not in BEFORE_THE_PROMPT
            return await deed(self.server)
        finally:
            self.left += 1


async def ends_well(_server):
    return Rendered("wan", ("a warning",))


async def sees_it_die(server):
    server.die()
    await asyncio.Event().wait()


async def sees_it_die_of_memory(server):
    server.die(out_of_memory=True)
    await asyncio.Event().wait()


async def finds_it_dead_of_memory(server):
    server.die(out_of_memory=True)
    raise EngineUnavailable("ComfyUI server is not responding")


#: What happens before the prompt is queued.
BEFORE_THE_PROMPT = {finds_it_dead_of_memory}


async def loses_its_connection_first(server):
    asyncio.get_running_loop().call_soon(server.die)
    raise EngineUnavailable("ComfyUI server is not responding")


async def finds_nobody(_server):
    raise EngineUnavailable("ComfyUI server is not responding")


async def fails(_server):
    raise EngineFailed("Node 3 (KSampler) failed")


async def test_a_run_whose_server_lives_is_run_once():
    runs = Runs(Mortal(), ends_well)
    rendered = await with_one_restart(runs.server, "a-1", runs)

    assert (rendered.warnings, runs.names) == (("a warning",), ["a-1"])


@pytest.mark.parametrize("first", [sees_it_die, loses_its_connection_first, finds_it_dead_of_memory])
async def test_a_run_whose_server_dies_is_begun_again_under_another_name(first):
    runs = Runs(Mortal(), first, ends_well)
    rendered = await with_one_restart(runs.server, "a-1", runs)

    assert (runs.names, runs.left) == (["a-1", "a-1b"], 2)
    assert rendered.warnings[0] == "a warning"
    assert rendered.warnings[1].endswith(f"was started again for a second one. {CRASH}")


async def test_a_second_death_is_the_error():
    runs = Runs(Mortal(), sees_it_die, sees_it_die)
    with pytest.raises(ServerDied) as caught:
        await with_one_restart(runs.server, "a-1", runs)

    assert str(caught.value) == f"ComfyUI server is not responding. It ended in the middle of the run. {CRASH}"
    assert (caught.value.code, runs.left) == ("ENGINE_UNAVAILABLE", 2)


async def test_a_deadline_bounds_both_runs_together():
    async def outlasts_the_deadline(_server):
        deadline.reschedule(0)  # long past, by the loop's clock
        await asyncio.Event().wait()

    runs = Runs(Mortal(), sees_it_die, outlasts_the_deadline)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(None) as deadline:
            await with_one_restart(runs.server, "a-1", runs)

    assert (runs.names, runs.left) == (["a-1", "a-1b"], 2)


async def test_what_ran_out_of_memory_is_not_begun_again():
    runs = Runs(Mortal(), sees_it_die_of_memory)
    with pytest.raises(OutOfMemory, match=r"ran out of memory .* and ended\. It ended with exit code 134"):
        await with_one_restart(runs.server, "a-1", runs)

    assert runs.left == 1


@pytest.mark.parametrize("is_local", [True, False])
async def test_a_server_that_does_not_answer_and_did_not_die_is_the_error(is_local):
    runs = Runs(Mortal(is_local=is_local), finds_nobody)
    with pytest.raises(EngineUnavailable) as caught:
        await with_one_restart(runs.server, "a-1", runs)

    assert not isinstance(caught.value, ServerDied)
    assert runs.names == ["a-1"]


async def test_a_node_that_fails_is_no_reason_to_begin_again():
    runs = Runs(Mortal(), fails)
    with pytest.raises(EngineFailed):
        await with_one_restart(runs.server, "a-1", runs)

    assert runs.names == ["a-1"]


async def test_cancelled_it_waits_for_the_run_to_stop():
    runs = Runs(Mortal(), lambda _server: asyncio.Event().wait())
    task = asyncio.create_task(with_one_restart(runs.server, "a-1", runs))
    while not runs.names:
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert (task.cancelled(), runs.left) == (True, 1)
