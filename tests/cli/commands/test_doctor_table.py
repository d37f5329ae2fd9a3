"""The table of doctor, as a person reads it on a terminal and in a file."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from fakes import command_line
from wanworker.cli.commands._doctor_table import doctor_table
from wanworker.cli.terminal.console import show
from wanworker.models.files.damage import Damaged
from wanworker.models.hub.catalogue import PRESETS
from wanworker.models.machine.doctor import Check, Report, Row

FETCHABLE = Row("comfyui", "ti2v-5B", ("vae/wan2.2_vae.safetensors",), ("no server",), PRESETS["fastwan-5b"])
READY = Row("wan_cli", "ti2v-5B")
MINI = Row("mini", "ti2v-5B")
FULL = Check("videos", "no room", is_bad=True, stops_all=True)


class Shown:
    """Prints a report, as wide as a test says, and returns its lines."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(
        self,
        *rows: Row,
        checks: tuple[Check, ...] = (),
        free_bytes: int = 10**12,
        columns: int = 0,
        every_engine: bool = True,
    ) -> list[str]:
        if columns:
            for name, value in {"COLUMNS": str(columns), "TERM": "dumb"}.items():
                self._monkeypatch.setenv(name, value)
            self._monkeypatch.setattr("sys.stdout.isatty", lambda: True)
        damaged = (Damaged(Path("/models/vae/half\x1b.safetensors"), "12 [b]bytes[/b] are there"),)
        report = Report(rows, checks, damaged, ("/models", "/runpod-volume"), free_bytes)
        show(doctor_table(report, every_engine=every_engine))
        return self._capsys.readouterr().out.splitlines()


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shown:
    return Shown(monkeypatch, capsys)


@pytest.mark.parametrize("columns", [0, 80])
def test_a_row_says_what_is_missing_what_the_machine_lacks_and_the_command(shown: Shown, columns: int) -> None:
    lines = shown(FETCHABLE, READY, columns=columns)

    start = lines.index("ti2v-5B")
    assert [
        "  comfyui  missing  vae/wan2.2_vae.safetensors",
        "           lacks    no server",
        "           get      wanworker fetch fastwan-5b  (18.8 GB)",
        "  wan_cli  ready",
    ] == lines[start + 1 : start + 5]


def test_a_plan_is_told_in_words_and_only_where_there_is_a_card(shown: Shown) -> None:
    plan = {
        "device": "cuda", "profile": "exact", "experts": "slot", "text_encoder": "evicted", "vae": "resident",
        "vae_dtype": "float32", "decode": "streamed", "gpu_gib": {"sampling": 36.8, "decoding": 43.8}, "host_gib": 66.8,
    }  # fmt: skip
    lines = shown(dataclasses.replace(READY, plan=plan), dataclasses.replace(READY, plan={"device": "cpu"}))

    start = lines.index("ti2v-5B")
    assert [
        "  wan_cli  ready",
        "           plan   exact: experts slot, text encoder evicted, VAE resident (float32 streamed); "
        "43.8 GiB of the GPU while decoding, 66.8 of memory",
        "  wan_cli  ready",
    ] == [line.rstrip() for line in lines[start + 1 : start + 4]]


def test_a_set_that_does_not_fit_is_said_to(shown: Shown) -> None:
    assert "(18.8 GB, and 5.0 GB are free)" in "".join(shown(FETCHABLE, free_bytes=5 * 10**9))


def test_a_size_that_is_not_known_is_not_made_up(shown: Shown) -> None:
    row = Row("comfyui", "animate-14B", ("x",), preset=PRESETS["animate"])

    assert "wanworker fetch animate  (it asks the hub for the size)" in "".join(shown(row))


@pytest.mark.parametrize("columns", [40, 100])
def test_lines_keep_to_the_width_of_the_terminal_and_nothing_is_cut_off(shown: Shown, columns: int) -> None:
    missing = tuple(f"diffusion_models/part_{number}.safetensors" for number in range(9))

    lines = shown(
        Row("comfyui", "t2v-A14B", missing), checks=(Check("ffmpeg", "/a/very/long/path" * 9),), columns=columns
    )

    assert [] == [line for line in lines if len(line) > columns]
    assert [] == [name for name in (*missing, "/a/very/long/path" * 9) if name not in "".join("".join(lines).split())]


def test_a_file_gets_each_name_on_a_line_of_its_own_however_long(shown: Shown) -> None:
    names = tuple(f"{letter * 200}.safetensors" for letter in "ab")

    lines = shown(Row("comfyui", "t2v-A14B", names))

    assert [*names] == [line.split()[-1] for line in lines if ".safetensors" in line and "half" not in line]
    assert lines == [line.rstrip() for line in lines]


def test_a_bad_check_and_a_damaged_file_stand_out(shown: Shown) -> None:
    lines = shown(READY, checks=(Check("GPU", "none", is_bad=True), Check("memory", "64.0 GB")))

    assert ["BAD GPU         none", "    memory      64.0 GB"] == lines[2:4]
    assert "  /models/vae/half\\x1b.safetensors: 12 [b]bytes[/b] are there" in lines
    assert "Searched: /models, /runpod-volume" in lines


@pytest.mark.parametrize("every_engine", [True, False])
def test_the_verdict_is_the_first_line(shown: Shown, every_engine: bool) -> None:
    def verdict(*rows: Row, checks: tuple[Check, ...] = ()) -> str:
        return shown(*rows, checks=checks, every_engine=every_engine)[0]

    assert "This machine can render." == verdict(READY)
    assert "This machine cannot render: see videos below." == verdict(READY, checks=(FULL,))
    assert verdict(FETCHABLE, MINI).endswith("the miniature stands in (WAN_MINI).")
    assert "No real engine can render here." == verdict(FETCHABLE)


def test_a_task_is_one_line_that_helps(shown: Shown) -> None:
    larger = Row("wan_cli", "t2v-A14B", ("x",), preset=PRESETS["animate"])
    lacking = Row("wan_cli", "s2v-14B", lacking=("no GPU",))

    lines = shown(
        FETCHABLE, READY, dataclasses.replace(FETCHABLE, task="t2v-A14B"), larger, lacking, every_engine=False
    )

    start = next(number for number, line in enumerate(lines) if line.startswith("ti2v-5B"))
    assert [
        ["ti2v-5B", "ready", "wan_cli"],
        ["t2v-A14B", "not ready", "wanworker fetch fastwan-5b", "(18.8 GB)"],
        ["s2v-14B", "not ready", "wan_cli: no GPU"],
    ] == [re.split(r"\s{2,}", line) for line in lines[start : start + 3]]
    assert "--all shows every engine." == lines[-1]


def test_the_page_fits_a_screen(tmp_path: Path) -> None:
    _, page = command_line.on_terminal(tmp_path, "doctor", columns=140, env={"TERM": "dumb"})

    assert len(page.splitlines()) <= 24, page


def test_a_task_of_one_engine_says_that_no_other_renders_it(shown: Shown) -> None:
    text = "".join(shown(dataclasses.replace(READY, task="vace-A14B", is_only=True)))

    assert "no other engine renders this task" in text
    assert "no other engine" not in "".join(shown(READY))
