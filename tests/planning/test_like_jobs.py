"""How long jobs like a planned one took: which are alike, what is scaled, and what is not known."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from wanworker.jobs.model import Job, JobError, JobStatus, Output
from wanworker.jobs.store.job_store import JobRequest, JobStore
from wanworker.planning.like_jobs import Expected, Kind, expected, of_jobs

KIND = Kind("diffusers", "Wan2.2-T2V-A14B", "t2v-A14B", 40, "exact", 832 * 480 * 81)


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    return JobStore(tmp_path / "jobs")


def output(width: int = 832, height: int = 480, frames: int = 81) -> Output:
    return Output("/x.mp4", "video", "video/mp4", 1, "0" * 64, width, height, 16.0, frames, 5.0, "h264")


def rendered(store: JobStore, request_id: str, render_s: float, load_s: float = 0.0, **changes: Any) -> Job:
    """Record a finished job that is alike unless *changes* say otherwise."""
    claimed = store.claim(JobRequest(request_id=request_id, action="generate", spec_hash="a" * 64, prompt="")).job
    facts: dict[str, Any] = {
        "status": JobStatus.COMPLETED,
        "engine": "diffusers",
        "model": "Wan2.2-T2V-A14B",
        "task": "t2v-A14B",
        "recipe": {"steps": 40},
        "placement": {"profile": "exact"},
        "outputs": (output(),),
        "timings": {"render_s": render_s, "load_s": load_s},
    }
    return store.update(claimed, **(facts | changes))


def test_the_median_of_like_jobs_tells_warm_from_cold(store: JobStore) -> None:
    for number, (render_s, load_s) in enumerate([(100, 0), (102, 0), (104, 0), (160, 60)]):
        rendered(store, f"job-{number}", render_s, load_s)

    assert Expected(4, 103.0, 102.0, 160.0) == expected(store, KIND)


@pytest.mark.parametrize(
    "change",
    [
        {"engine": "comfyui"},
        {"model": "another"},
        {"task": "i2v-A14B"},
        {"recipe": {"steps": 4}},
        {"recipe": None},
        {"placement": {"profile": "fast"}},
        {"placement": None},
        {"outputs": (output(width=1280, height=720),)},
        {"outputs": (output(frames=61),)},
        {"outputs": ()},
        {"timings": {}},
        {"status": JobStatus.ERROR, "error": JobError("X", "x", "")},
    ],
)
def test_another_job_does_not_count(store: JobStore, change: dict[str, Any]) -> None:
    rendered(store, "job-1", 50, **change)

    assert Expected(0) == expected(store, KIND)


def test_hardly_more_pixels_take_so_much_longer(store: JobStore) -> None:
    rendered(store, "job-1", 100, outputs=(output(frames=77),))

    assert Expected(1, 105.2, 105.2, None) == expected(store, KIND)


def test_the_time_of_several_outputs_is_shared_among_them(store: JobStore) -> None:
    rendered(store, "job-1", 300, outputs=(output(), output(), output()))

    assert 100.0 == expected(store, KIND).seconds


def test_only_the_newest_twenty_count(store: JobStore) -> None:
    old = rendered(store, "old", 1000)
    new = [dataclasses.replace(old, request_id=f"new-{n}", timings={"render_s": 10.0}) for n in range(20)]

    assert Expected(20, 10.0, 10.0, None) == of_jobs([*new, old], KIND)


def test_a_server_that_was_started_is_cold(store: JobStore) -> None:
    job = rendered(store, "job-1", 90, timings={"render_s": 90.0, "comfyui_start_s": 40.0})

    assert Expected(1, 90.0, None, 90.0) == of_jobs([job], KIND)


def test_what_is_not_known_is_not_guessed(store: JobStore) -> None:
    rendered(store, "job-1", 90)

    assert Expected(0) == expected(store, None)
