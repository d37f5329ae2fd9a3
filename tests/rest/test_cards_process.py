"""A real server with WAN_GPUS=cpu:2: health, GET / and the metrics show both cards, while they work and afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from fakes.gate import Gate
from fakes.rest_server import serving

pytestmark = pytest.mark.slow

PATIENCE_S = 60.0


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


@pytest.fixture
def server(tmp_path: Path, gate: Gate) -> Iterator[httpx.Client]:
    variables = {"WAN_GPUS": "cpu:2", "WAN_CKPT_DIR": str(tmp_path / "models"), **gate.environment}
    with serving(tmp_path, variables) as address, httpx.Client(base_url=address, timeout=30, trust_env=False) as client:
        yield client


def generated(server: httpx.Client, seed: int) -> str:
    body = {"prompt": "a red star", "seed": seed, "width": 64, "height": 64, "length": 5, "steps": 2}
    return str(server.post("/generate", json=body).raise_for_status().json()["job_id"])


def ended(server: httpx.Client, name: str) -> str:
    """Return how a job ended."""
    give_up = time.monotonic() + PATIENCE_S
    while (word := str(server.get(f"/status/{name}").json()["status"])) in {"queued", "processing"}:
        assert time.monotonic() < give_up, word
        time.sleep(0.05)
    return word


def cards(server: httpx.Client) -> list[dict[str, Any]]:
    return list(server.get("/").json()["cards"])


def until(server: httpx.Client, is_true: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
    """Return the cards as GET / shows them, once *is_true* of them."""
    give_up = time.monotonic() + PATIENCE_S
    while not is_true(shown := cards(server)):
        assert time.monotonic() < give_up, shown
        time.sleep(0.05)
    return shown


def health(server: httpx.Client) -> dict[str, Any]:
    answer = server.post("/v2/local/runsync", json={"input": {"action": "health"}}).raise_for_status()
    return dict(answer.json()["output"])


def test_both_places_of_the_processor_are_shown_at_work_and_afterwards(server: httpx.Client, gate: Gate) -> None:
    idle = cards(server)
    names = [generated(server, seed) for seed in (1, 2, 3)]
    at_work = until(server, lambda shown: all(card["holds"] for card in shown))
    asked, metrics = health(server)["cards"], server.get("/metrics").text
    waiting = server.get(f"/status/{names[2]}").json()
    gate.open()
    ends = [ended(server, name) for name in names]
    after = until(server, lambda shown: not any(card["job"] for card in shown))
    counted = server.get("/metrics").text

    assert [(0, "free", None), (1, "free", None)] == [(card["number"], card["state"], card["holds"]) for card in idle]
    assert [(0, "busy", names[0]), (1, "busy", names[1])] == [
        (card["number"], card["state"], card["job"]) for card in at_work
    ]
    assert at_work == asked
    assert 'wanworker_card{card="1",state="busy"} 1.0' in metrics
    assert ("queued", 1) == (waiting["status"], waiting["queue_position"])
    assert ["mini ti2v-5B"] * 2 == [card["holds"] for card in after]
    assert ["completed"] * 3 == ends
    jobs = [line for line in counted.splitlines() if line.startswith("wanworker_card_jobs_total")]
    assert 3.0 == sum(float(line.split()[-1]) for line in jobs)
    assert 2 == len(jobs)
