"""Each row of the fault matrix, at each door; the quick ones in every run of the tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from faults.harness import can_mount, walk
from faults.matrix import FAULTS, Fault


def _rows() -> list[object]:
    return [
        pytest.param(fault, door, id=f"{door}: {fault.name}", marks=() if fault.is_quick else (pytest.mark.slow,))
        for fault in FAULTS
        for door in fault.doors
    ]


@pytest.mark.parametrize(("fault", "door"), _rows())
def test_the_record_is_true_nothing_is_left_and_the_next_job_works(fault: Fault, door: str, tmp_path: Path) -> None:
    if fault.needs_mount and not can_mount():
        pytest.skip("no file system can be mounted here")
    walk(fault, door, tmp_path)
