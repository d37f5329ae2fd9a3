"""The time in which this process did not run is nobody's silence."""

import asyncio

import pytest

from wanworker.clocks.awake import AwakeClock, Silence


class World:
    """A clock, and a sleep that passes at once; one of the sleeps, the *frozen*th, takes an hour more."""

    def __init__(self, frozen=0):
        self.now = 1000.0
        self.slept_s = 0.0
        self._sleeps, self._frozen = 0, frozen

    def clock(self):
        return self.now

    async def sleep(self, seconds):
        self._sleeps += 1
        self.slept_s += seconds
        self.now += seconds + (3600.0 if self._sleeps == self._frozen else 0.0)
        await asyncio.sleep(0)


def test_only_the_time_between_two_near_looks_counts():
    world = World()
    now = AwakeClock(world.clock)
    told = []
    for seconds in (4.0, 10.0, 10.5, 3600.0, 0.5):
        world.now += seconds
        told.append(now())

    assert told == [4.0, 14.0, 14.0, 14.0, 14.5]


async def test_a_long_wait_in_the_block_counts():
    world = World()
    done = asyncio.Event()

    async def sleep(seconds):
        await world.sleep(seconds)
        if world.now >= 1300.0:
            done.set()
            await asyncio.Event().wait()

    now = AwakeClock(world.clock, sleep=sleep)
    async with now.looking():
        await done.wait()

        assert now() == 300.0


@pytest.mark.parametrize("frozen", [0, 1, 50])
async def test_a_silence_ends_the_block_after_its_time_less_ones_own_sleep(frozen):
    world = World(frozen)
    with pytest.raises(TimeoutError):
        async with Silence(100.0, world.clock, sleep=world.sleep) as silence:
            await asyncio.Event().wait()

    assert silence.expired()
    assert world.slept_s == pytest.approx(101.0 if frozen else 100.0)


async def test_what_is_heard_begins_the_wait_anew():
    world = World()

    async def heard_for_a_while():
        async with Silence(100.0, world.clock, sleep=world.sleep) as silence:
            while world.slept_s < 250:
                await asyncio.sleep(0)
                silence.heard()
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await heard_for_a_while()

    assert 345 < world.slept_s < 355


async def test_a_block_that_ends_in_time_is_left_alone():
    async with Silence(100.0) as silence:
        pass

    assert not silence.expired()


async def test_the_error_of_the_block_comes_through():
    with pytest.raises(TimeoutError, match="its own"):
        async with Silence(100.0) as silence:
            raise TimeoutError("its own")

    assert not silence.expired()
