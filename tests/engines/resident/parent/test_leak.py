"""A child that keeps more and more memory is replaced between two jobs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from wanworker.engines.resident.parent._leak import LeakWatch
from wanworker.engines.resident.parent.supervisor import Supervisor
from wanworker.engines.resident.protocol import Model, Placement, Render
from wanworker.settings import child_environment

FAKE = Path(__file__).parents[3] / "fakes" / "resident_child.py"
MODEL = Model("/models/a", "cpu")
OTHER = Model("/models/b", "cpu")


def job(out_path: Path) -> Render:
    return Render(
        job=0, prompt="succeed", width=64, height=64, frames=17, out_width=64, out_height=64, out_frames=17, fps=16,
        seed=1, steps=9, guidance=4.0, guidance_low=4.0, shift=3.0, out_path=str(out_path),
    )  # fmt: skip


class Machine:
    """What its processes hold and what is left, as a test says."""

    def __init__(self, left_mib: int | None = 4000) -> None:
        self.left_mib = left_mib
        self.held_mib: dict[int, int] = {}

    def watch(self) -> LeakWatch:
        return LeakWatch(lambda pid: self.held_mib.get(pid, 0), lambda: self.left_mib)


@pytest.mark.parametrize(
    ("held_mib", "left_mib", "has_leaked"),
    [
        ([5000, 5000, 5000], 0, False),
        ([5000, 6023], 0, False),
        ([5000, 6024], 2048, False),
        ([5000, 6024], 2047, True),
        ([5000, 9000], 8000, False),
        ([5000, 9000], 7999, True),
        ([5000, 9000], None, False),
        ([5000, 4000, 6023], 0, False),
    ],
)
def test_a_child_has_leaked_once_it_has_grown_by_a_gibibyte_and_by_half_of_what_is_left(
    held_mib: list[int], left_mib: int | None, has_leaked: bool
) -> None:
    machine = Machine(left_mib)
    watch = machine.watch()
    verdicts = []
    for machine.held_mib[7] in held_mib:
        verdicts.append(watch.has_leaked(7, MODEL))
    assert [*[False] * (len(held_mib) - 1), has_leaked] == verdicts


def test_another_model_and_another_child_have_their_own_first_job() -> None:
    machine = Machine(0)
    watch = machine.watch()
    machine.held_mib = {7: 1000, 8: 9000}
    assert not watch.has_leaked(7, MODEL)
    machine.held_mib[7] = 3000
    assert not watch.has_leaked(7, OTHER)
    assert watch.has_leaked(7, MODEL)
    assert not watch.has_leaked(8, MODEL)
    machine.held_mib[7] = 9000
    assert not watch.has_leaked(7, MODEL)


def test_another_placement_has_its_own_first_job() -> None:
    machine = Machine(0)
    watch = machine.watch()
    machine.held_mib[7] = 1000
    assert not watch.has_leaked(7, MODEL, Placement())
    machine.held_mib[7] = 12_000  # the text encoder waits in main memory now
    assert not watch.has_leaked(7, MODEL, Placement(text_encoder="evicted"))
    machine.held_mib[7] = 24_000
    assert watch.has_leaked(7, MODEL, Placement(text_encoder="evicted"))


async def test_a_child_that_has_leaked_ends_after_its_job_and_the_next_job_gets_another(tmp_path: Path) -> None:
    machine = Machine(0)
    argv = (sys.executable, str(FAKE), "well")
    supervisor = Supervisor(argv, child_environment(), leaks=machine.watch())
    try:
        await supervisor.render(MODEL, job(tmp_path / "a"), lambda _: None)
        leaking = supervisor.pid
        assert leaking is not None
        machine.held_mib[leaking] = 5000
        await supervisor.render(MODEL, job(tmp_path / "b"), lambda _: None)
        third = await supervisor.render(MODEL, job(tmp_path / "c"), lambda _: None)

        assert not Path(f"/proc/{leaking}").exists()
        assert supervisor.pid not in {None, leaking}
        assert third.timings["load_s"] > 0
        assert all((tmp_path / name).read_text() == "video" for name in "abc")
    finally:
        await supervisor.close()
