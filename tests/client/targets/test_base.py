from __future__ import annotations

import pytest

from wanworker.client.targets.base import complaint, progress_of
from wanworker.progress import Progress


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (None, {"stage": "running"}),
        ("loading the model", {"stage": "loading the model"}),
        ({"status": "RUNNING"}, {"stage": "running"}),
        ({"stage": "sampling", "progress": "40", "step": True, "steps": None}, {"stage": "sampling"}),
        ([1, 2], {"stage": "[1, 2]"}),
        ({"stage": "x" * 500, "progress": 4}, {"stage": "x" * 60, "progress": 4}),
    ],
)
def test_another_workers_progress_is_shown_as_far_as_it_can_be_read(output: object, expected: object) -> None:
    assert expected == progress_of(output)


def test_ours_is_shown_in_full() -> None:
    shown = Progress("sampling", 0.4, 6, 15, 18.0).to_json()

    assert shown == progress_of({"request_id": "x", "status": "RUNNING", **shown})


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"error": "No room.", "hint": "Make some.", "code": "DISK_FULL"}, ("No room.", "Make some.", "DISK_FULL")),
        ({"error": {"message": "No room.", "code": 3}}, ("No room.", "", "3")),
        ({"detail": "Not Found"}, ("Not Found", "", "")),
        ({"detail": [{"loc": ["body", "steps"], "msg": "too many"}, "odd"]}, ("steps: too many; odd", "", "")),
        ("No room.", ("No room.", "", "")),
        (None, ("", "", "")),
        ({}, ("", "", "")),
        (
            "\n<!DOCTYPE HTML>\n<html><h1>404</h1>",
            ("a web page, not JSON.", "Check the address: another program may answer there.", ""),
        ),
    ],
)
def test_a_failure_is_told_from_what_survived(body: object, expected: tuple[str, str, str]) -> None:
    assert expected == complaint(body)
