"""bench/placements.py on a card that has no room for some of the placements."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from wanworker.engines.resident.protocol import Placement
from wanworker.models.sources.discover import Source

PROGRAM = Path(__file__).resolve().parents[1] / "bench" / "placements.py"


@pytest.fixture(scope="module")
def bench() -> Any:
    spec = importlib.util.spec_from_file_location("bench_placements", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Child:
    """What was loaded; it notes that it gave its memory back."""

    freed = 0

    def free(self) -> None:
        """Count."""
        self.freed += 1


def test_the_model_is_loaded_for_the_first_placement_and_not_resident_as_a_whole(bench: Any) -> None:
    source = Source("a", "t2v-A14B", Path("/m/a"), {"vae": Path("/m/vae")}, {"vae": 1}, experts=2, form="fp8_scaled")
    first = next(bench.placements(source, "cuda"))

    model = bench.model_of(source, "cuda", first)

    assert (first, (), "evicted") == (model.placement, model.stamp, model.placement.experts)


def test_a_placement_that_does_not_fit_says_so_and_costs_no_other_its_row(bench: Any) -> None:
    def too_large() -> dict[str, Any]:
        raise MemoryError("CUDA out of memory")

    child = Child()
    failed = bench.row_or_failure(child, Placement("cuda"), too_large)
    made = bench.row_or_failure(child, Placement("cuda"), lambda: {"placement": Placement().to_json(), "sha256": "a"})

    assert (1, "out of memory: CUDA out of memory") == (child.freed, failed["failed"])
    assert 1 == bench.exact_files([failed, made])
    with pytest.raises(ZeroDivisionError):
        bench.row_or_failure(child, Placement("cuda"), lambda: {"x": 1 // 0})
