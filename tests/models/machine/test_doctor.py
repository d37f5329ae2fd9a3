"""The report of doctor: what a person reads, what a program reads, and the verdict."""

from __future__ import annotations

import json
from pathlib import Path

from wanworker.models.files.damage import Damaged
from wanworker.models.hub.catalogue import PRESETS
from wanworker.models.machine.doctor import Check, Report, Row, as_json, as_table

FETCHABLE = Row("comfyui", "ti2v-5B", ("vae/wan2.2_vae.safetensors",), ("no server",), PRESETS["fastwan-5b"])
READY = Row("wan_cli", "ti2v-5B")
MINI = Row("mini", "ti2v-5B")


def report(*rows: Row, checks: tuple[Check, ...] = (), free_bytes: int = 10**12) -> Report:
    damaged = (Damaged(Path("/models/vae/half.safetensors"), "12 bytes are there"),)
    return Report(rows, checks, damaged, ("/models", "/runpod-volume"), free_bytes)


def test_a_row_says_what_is_missing_what_the_machine_lacks_and_the_command() -> None:
    lines = as_table(report(FETCHABLE, READY), 100).splitlines()

    start = lines.index("ti2v-5B      comfyui    missing  vae/wan2.2_vae.safetensors")
    assert [
        "                        lacks    no server",
        "                        get      wanworker fetch fastwan-5b  (18.8 GB)",
        "             wan_cli    ready",
    ] == lines[start + 1 : start + 4]


def test_a_set_that_does_not_fit_is_said_to() -> None:
    assert "(18.8 GB, and 5.0 GB are free)" in as_table(report(FETCHABLE, free_bytes=5 * 10**9), 100)


def test_a_size_that_is_not_known_is_not_made_up() -> None:
    row = Row("comfyui", "animate-14B", ("x",), preset=PRESETS["animate"])

    assert "wanworker fetch animate  (it asks the hub for the size)" in as_table(report(row), 100)


def test_lines_keep_to_the_width() -> None:
    missing = tuple(f"diffusion_models/part_{number}.safetensors" for number in range(9))

    lines = as_table(report(Row("comfyui", "t2v-A14B", missing)), 80).splitlines()

    assert [] == [line for line in lines if len(line) > 80]
    assert any(line.startswith(" " * 33 + "diffusion_models/") for line in lines)


def test_a_bad_check_and_a_damaged_file_stand_out() -> None:
    table = as_table(report(READY, checks=(Check("GPU", "none", is_bad=True), Check("memory", "64.0 GB"))), 100)

    assert "BAD GPU         none" in table
    assert "    memory      64.0 GB" in table
    assert "  /models/vae/half.safetensors: 12 bytes are there" in table
    assert "Searched: /models, /runpod-volume" in table


def test_a_machine_can_render_by_a_real_engine_that_nothing_stops() -> None:
    full = Check("videos", "no room", is_bad=True, stops_all=True)

    assert report(READY).can_render
    assert report(READY, checks=(Check("GPU", "none", is_bad=True),)).can_render
    assert not report(READY, checks=(full,)).can_render
    assert not report(FETCHABLE, MINI).can_render


def test_the_verdict_is_the_last_line() -> None:
    full = Check("videos", "no room", is_bad=True, stops_all=True)

    assert "This machine can render." == as_table(report(READY), 100).splitlines()[-1]
    assert (
        "This machine cannot render: see videos above." == as_table(report(READY, checks=(full,)), 100).splitlines()[-1]
    )
    assert as_table(report(FETCHABLE, MINI), 100).endswith("the miniature stands in (WAN_MINI).")
    assert as_table(report(FETCHABLE), 100).endswith("No real engine can render here.")


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
    } == told["engines"][0]
    assert ("mini", True, None) == tuple(told["engines"][1][key] for key in ("engine", "ready", "fetch"))
    assert [{"name": "GPU", "ok": False, "text": "none"}] == told["checks"]
    assert [{"path": "/models/vae/half.safetensors", "flaw": "12 bytes are there"}] == told["damaged"]
    assert (False, 10**12) == (told["can_render"], told["free_bytes"])
