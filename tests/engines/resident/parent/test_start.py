"""What the child's environment has beside the worker's own."""

from __future__ import annotations

import pytest

from wanworker.engines.resident.parent.start import environment_of


def test_the_child_asks_no_network_and_counts_cards_as_the_plan_does() -> None:
    made = environment_of({"PATH": "/bin", "HF_HUB_OFFLINE": "0"})

    assert ("/bin", "1", "PCI_BUS_ID") == (made["PATH"], made["HF_HUB_OFFLINE"], made["CUDA_DEVICE_ORDER"])


def test_the_allocator_keeps_no_hole_where_an_expert_was() -> None:
    assert "expandable_segments:True" == environment_of({})["PYTORCH_ALLOC_CONF"]


@pytest.mark.parametrize("name", ["PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"])
def test_whoever_sets_the_allocator_has_the_last_word(name: str) -> None:
    made = environment_of({name: "max_split_size_mb:512"})

    assert {name: "max_split_size_mb:512"} == {key: value for key, value in made.items() if "ALLOC" in key}
