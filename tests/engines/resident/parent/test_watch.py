"""The seconds that a child may be blamed for."""

from __future__ import annotations

import pytest

from wanworker.engines.resident.parent._watch import beat


@pytest.mark.parametrize(("passed_s", "counted_s"), [(5.0, 5.0), (7.5, 7.5), (10_800.0, 10.0)])
async def test_a_worker_that_was_frozen_does_not_blame_its_child(passed_s: float, counted_s: float) -> None:
    now = [0.0]

    async def sleep(_seconds: float) -> None:
        now[0] += passed_s

    assert counted_s == await beat(lambda: now[0], sleep)
