"""The report of doctor: what a program reads, and the verdict."""

from __future__ import annotations

import json
from pathlib import Path

from wanworker.models.files.damage import Damaged
from wanworker.models.hub.catalogue import PRESETS
from wanworker.models.machine.doctor import Check, Report, Row, as_json

FETCHABLE = Row("comfyui", "ti2v-5B", ("vae/wan2.2_vae.safetensors",), ("no server",), PRESETS["fastwan-5b"])
READY = Row("wan_cli", "ti2v-5B")
MINI = Row("mini", "ti2v-5B")


def report(*rows: Row, checks: tuple[Check, ...] = (), free_bytes: int = 10**12) -> Report:
    damaged = (Damaged(Path("/models/vae/half.safetensors"), "12 bytes are there"),)
    return Report(rows, checks, damaged, ("/models", "/runpod-volume"), free_bytes)


def test_a_machine_can_render_by_a_real_engine_that_nothing_stops() -> None:
    full = Check("videos", "no room", is_bad=True, stops_all=True)

    assert report(READY).can_render
    assert report(READY, checks=(Check("GPU", "none", is_bad=True),)).can_render
    assert not report(READY, checks=(full,)).can_render
    assert not report(FETCHABLE, MINI).can_render


def test_a_program_gets_the_same_as_json() -> None:
    told = json.loads(json.dumps(as_json(report(FETCHABLE, MINI, checks=(Check("GPU", "none", is_bad=True),)))))

    assert {
        "engine": "comfyui",
        "task": "ti2v-5B",
        "ready": False,
        "missing": ["vae/wan2.2_vae.safetensors"],
        "lacking": ["no server"],
        "fetch": "wanworker fetch fastwan-5b",
        "fetch_bytes": 18_805_841_161,
        "only_engine": False,
        "placement": None,
    } == told["engines"][0]
    assert ("mini", True, None) == tuple(told["engines"][1][key] for key in ("engine", "ready", "fetch"))
    assert [{"name": "GPU", "ok": False, "text": "none"}] == told["checks"]
    assert [{"path": "/models/vae/half.safetensors", "flaw": "12 bytes are there"}] == told["damaged"]
    assert (False, 10**12) == (told["can_render"], told["free_bytes"])
