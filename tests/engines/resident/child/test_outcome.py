"""What a failed job leaves: whether the child can go on, and a second try in a smaller placement."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from wanworker.engines.mini import request_for
from wanworker.engines.resident.child.__main__ import _outcome
from wanworker.engines.resident.child._job import _Attempts, _Watch
from wanworker.engines.resident.protocol import Failed, Placement, Render
from wanworker.spec import RenderSpec, Size

SPEC = RenderSpec(
    task="t2v-A14B", prompt="a red star", size=Size(64, 64), size_given=True, fps=16, fps_given=True, seed=1, steps=2
)
MIB = 2**20
WIDE, NARROW = Placement("cuda"), Placement("cuda", experts="evicted")


class FakeLoaded:
    """Weights that fail as they are told; `left_bytes` is what a failure leaves on the card beside them."""

    def __init__(self, error: Exception | None = None, left_bytes: int = 0) -> None:
        self.error, self.left_bytes = error, left_bytes
        self.done: list[Any] = []

    def pipeline(self, *, with_image: bool) -> Any:
        """Give none."""

    def settle(self) -> None:
        """Do nothing."""
        self.done.append("settled")

    def follow(self, placement: Placement) -> None:
        """Fail, if it is to."""
        self.done.append(placement)
        if self.error is not None:
            raise self.error

    def free(self) -> int:
        """Say what is left."""
        self.done.append("freed")
        return self.left_bytes


class Hooks:
    """A job that says nothing and is not stopped."""

    def stage(self, name: str) -> None:
        """Take it."""

    def step(self, stage: str, step: int, steps: int) -> None:
        """Take it."""

    def must_stop(self) -> bool:
        """Say no."""
        return False


@pytest.fixture
def request_(tmp_path: Path) -> Render:
    return dataclasses.replace(request_for(SPEC, tmp_path / "out.mp4", 17), placement=WIDE)


def ended(loaded: FakeLoaded, request: Render) -> Failed:
    outcome = _outcome(loaded, request, Hooks())  # type: ignore[arg-type]
    assert isinstance(outcome, Failed)
    return outcome


@pytest.mark.parametrize(
    ("error", "left_bytes", "usable"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), 200 * MIB, True),
        (torch.OutOfMemoryError("CUDA out of memory."), 6000 * MIB, False),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), 0, False),
        (RuntimeError("shapes do not match"), 0, True),
    ],
)
def test_a_child_goes_on_unless_its_context_or_its_memory_is_lost(
    request_: Render, error: Exception, left_bytes: int, usable: bool
) -> None:
    assert usable is ended(FakeLoaded(error, left_bytes), request_).usable


def failing_once(error: Exception) -> Callable[[], str]:
    errors = [error]

    def part() -> str:
        if errors:
            raise errors.pop()
        return "made"

    return part


def test_a_part_that_runs_out_of_memory_is_made_once_more_in_the_fallback(request_: Render) -> None:
    loaded = FakeLoaded()
    attempts = _Attempts(loaded, dataclasses.replace(request_, fallback=NARROW))  # type: ignore[arg-type]

    assert "made" == attempts.made(failing_once(torch.OutOfMemoryError("CUDA out of memory.")))
    assert NARROW == attempts.placement
    assert [WIDE, "freed", NARROW] == loaded.done
    with pytest.raises(torch.OutOfMemoryError):
        attempts.made(failing_once(torch.OutOfMemoryError("CUDA out of memory.")))


def test_another_failure_or_no_fallback_is_the_jobs_end(request_: Render) -> None:
    with pytest.raises(ValueError, match="other"):
        _Attempts(FakeLoaded(), dataclasses.replace(request_, fallback=NARROW)).made(  # type: ignore[arg-type]
            failing_once(ValueError("other"))
        )
    with pytest.raises(torch.OutOfMemoryError):
        _Attempts(FakeLoaded(), request_).made(failing_once(torch.OutOfMemoryError("out")))  # type: ignore[arg-type]


def test_a_stage_is_timed_when_the_device_has_done_its_work() -> None:
    done: list[str] = []
    watch = _Watch(Hooks(), lambda: done.append("settled"))
    watch.begins("decoding")
    done.append("work")
    watch.ends("decode_s")

    assert ["settled", "work", "settled"] == done
    assert watch.timings["decode_s"] >= 0
