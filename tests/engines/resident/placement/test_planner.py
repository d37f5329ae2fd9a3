"""Plans by what is free now: what the warm child holds is no other's."""

from __future__ import annotations

from dataclasses import dataclass, field

from wanworker.engines.resident.placement.choice import Weights
from wanworker.engines.resident.placement.peaks import usual_shape
from wanworker.engines.resident.placement.planner import Planner, Probes, Wish
from wanworker.models.machine.hardware import Gpu

GIB = 2**30
WISH = Wish(
    "a14b",
    Weights({"transformer": 27 * GIB, "transformer_2": 27 * GIB, "text_encoder": 11 * GIB, "vae": GIB // 2}),
    usual_shape("t2v-A14B"),
    "exact",
)


@dataclass
class Host:
    """A machine whose memory a test fills."""

    gpu_gib: int = 48
    free_gpu_gib: int | None = 47
    available_gib: int | None = 90
    own_gib: int = 0
    asked: list[str] = field(default_factory=list)

    def planner(self) -> Planner:
        return Planner(
            Probes(
                lambda: (Gpu("a card", self.gpu_gib * 1024, "9.0", "580"),),
                self._free_gpu,
                lambda: None if self.available_gib is None else self.available_gib * 1024,
                lambda _pid: self.own_gib * 1024,
            )
        )

    def _free_gpu(self) -> int | None:
        self.asked.append("gpu")
        return None if self.free_gpu_gib is None else self.free_gpu_gib * 1024


def test_what_the_warm_child_holds_is_not_counted_against_the_next_job() -> None:
    host = Host()
    planner = host.planner()
    first = planner.plan(WISH, None)

    host.free_gpu_gib, host.available_gib, host.own_gib = 2, 26, 64
    warm, expected = planner.plan(WISH, 7), planner.expected(WISH, 7)
    foreign = planner.expected(WISH, None)

    assert () == first.lacking == warm.lacking == expected.lacking
    assert first.placement == warm.placement == expected.placement
    assert ["gpu"] == host.asked
    assert foreign.lacking[0].startswith("26 GiB of memory are free")


def test_a_card_that_another_program_fills_gets_a_smaller_plan() -> None:
    host = Host(gpu_gib=96, free_gpu_gib=95)
    roomy = host.planner().plan(WISH, None)
    host.free_gpu_gib = 48
    tight = host.planner().plan(WISH, None)

    assert "resident" == roomy.placement.experts
    assert "slot" == tight.placement.experts
    assert "resident" == host.planner().expected(WISH, None).placement.experts


def test_what_a_job_would_get_is_what_it_gets_beside_the_child_on_a_card_that_is_shared() -> None:
    host = Host(gpu_gib=96, free_gpu_gib=48)
    planner = host.planner()
    before = planner.likely(WISH, None)
    assert [] == host.asked
    first = planner.plan(WISH, None)

    assert ("resident", "slot") == (before.placement.experts, first.placement.experts)
    assert first == planner.likely(WISH, 7) == planner.plan(WISH, 7)
    assert ["gpu"] == host.asked


def test_a_driver_that_does_not_tell_what_is_free_leaves_the_whole_card() -> None:
    host = Host(free_gpu_gib=None, available_gib=None)

    assert () == host.planner().plan(WISH, None).lacking


def test_a_plan_that_ran_out_of_memory_is_not_tried_again() -> None:
    planner = Host(gpu_gib=96, free_gpu_gib=95).planner()
    plan = planner.plan(WISH, None)
    smaller = planner.smaller(WISH, plan)
    assert smaller is not None
    planner.was_too_large(WISH, plan)

    assert smaller.figures.peak_bytes < plan.figures.peak_bytes
    assert smaller.placement == planner.plan(WISH, 7).placement
    other = Wish("other", WISH.weights, WISH.shape, "exact")
    assert plan.placement == planner.plan(other, 7).placement


def test_the_smallest_plan_has_no_smaller_one_and_neither_has_the_cpu() -> None:
    planner = Host(gpu_gib=16).planner()
    smallest = planner.plan(WISH, None)
    on_cpu = Planner(Probes(tuple, lambda: None, lambda: None, lambda _pid: 0))

    assert smallest.lacking
    assert planner.smaller(WISH, smallest) is None
    assert on_cpu.smaller(WISH, on_cpu.plan(WISH, None)) is None
