"""`wanworker doctor` on volumes as people have them: empty, ComfyUI's, upstream's, cut short, full."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from fakes import command_line
from fakes.wan.home import make_home, write_safetensors
from wanworker.cli.commands.doctor import Machine, examine
from wanworker.engines import ENGINES
from wanworker.engines.base import Engine, EngineRow
from wanworker.engines.comfyui.engine import ComfyUI
from wanworker.engines.registry import EngineRegistry
from wanworker.engines.wan_cli.engine import WanCli
from wanworker.models.hub.catalogue import PRESETS
from wanworker.models.machine.doctor import Report, Row
from wanworker.models.machine.gpu_kernel import KernelRun
from wanworker.models.machine.hardware import Gpu
from wanworker.serverless.fitness import Unfit
from wanworker.settings import Settings, load_settings

MakeSettings = Callable[..., Settings]

H100 = Gpu("NVIDIA H100", 81_559, "9.0", "570.86")
RAN = KernelRun(ran=True, failed=False, text="a kernel ran on 1 GPU, torch 2.9.0, CUDA 12.8")

MACHINE = Machine(
    gpus=lambda: [H100],
    memory_mib=lambda: 200_000,
    free_bytes=lambda _: 500 * 10**9,
    kernel=lambda _: RAN,
    ffmpeg=lambda: "/usr/bin/ffmpeg",
)


def upstream(settings: Settings) -> WanCli:
    """Build the engine with MACHINE's card in place of this machine's."""
    python = str(settings.wan_interpreter)
    return WanCli(
        home=settings.wan_home,
        python=python,
        model_dirs=settings.model_dirs,
        env={},
        gpus=lambda: [H100],
        available_memory_mib=lambda: 200_000,
    )


def rows(gpus: Callable[[], Sequence[Gpu]]) -> tuple[EngineRow, ...]:
    """Return the engines with MACHINE's card in place of this machine's, where they look for one."""
    builds: dict[str, Callable[[Settings], Engine]] = {
        "wan_cli": upstream,
        "comfyui": lambda settings: ComfyUI(settings, gpus=gpus),
    }
    return tuple(dataclasses.replace(row, build=builds.get(row.name, row.build)) for row in ENGINES)


def examined(settings: Settings, machine: Machine = MACHINE) -> Report:
    return examine(settings, EngineRegistry(rows(machine.gpus), settings), machine)


def row(report: Report, engine: str, task: str) -> Row:
    return next(row for row in report.rows if (row.engine, row.task) == (engine, task))


def fill(models: Path, preset: str) -> Path:
    """Write the files of a ComfyUI set, tiny, and return the first."""
    for file in PRESETS[preset].files:
        (models / file.target).parent.mkdir(parents=True, exist_ok=True)
        write_safetensors(models / file.target)
    return models / PRESETS[preset].files[0].target


def checkout(root: Path) -> Path:
    """Make what tells a checkout of ComfyUI."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "main.py").touch()
    return root


def willing_python(folder: Path) -> Path:
    """Write an interpreter that lacks nothing, whatever it is asked."""
    python = folder / "python"
    python.write_text("#!/bin/sh\necho '[]'\n")
    python.chmod(0o755)
    return python


def test_an_empty_folder_misses_everything_and_every_command_is_one_that_exists(tmp_path: Path) -> None:
    code, said, complained = command_line.run(tmp_path, "doctor", "--json", env={"WAN_HOME": str(tmp_path / "Wan2.2")})

    told = json.loads(said)
    fetched = {preset.engine for preset in PRESETS.values()}
    real = [entry for entry in told["engines"] if entry["engine"] in fetched]
    others = [entry for entry in told["engines"] if entry["engine"] not in {*fetched, "mini"}]
    assert any(entry["ready"] for entry in others) == told["can_render"]
    assert (0 if told["can_render"] else 1, "") == (code, complained)
    assert [] == [entry for entry in real if entry["ready"] or not entry["missing"]]
    assert {f"wanworker fetch {name}" for name in PRESETS if name != "diffusers-ti2v-5b"} == {
        entry["fetch"] for entry in real
    }
    assert str(tmp_path / "models") in told["searched"]
    assert [] == told["damaged"]


def test_a_person_reads_a_table_and_a_verdict(tmp_path: Path) -> None:
    code, said, _ = command_line.run(tmp_path, "doctor", env={"WAN_MINI": "false"})

    lines = said.splitlines()
    assert 1 == code
    assert "No real engine can render here." == lines[0]
    assert any(line.startswith("    ffmpeg") for line in lines)
    assert len(lines) <= 24


def test_a_command_that_the_shell_would_not_find_is_named_as_a_clone_has_it(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "wanworker"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    told = "In a clone, the command is scripts/wanworker."

    _, in_a_clone, _ = command_line.run(tmp_path, "doctor", env={"PATH": "/usr/bin:/bin"})
    _, installed, _ = command_line.run(tmp_path, "doctor", env={"PATH": f"{program.parent}:/usr/bin:/bin"})

    assert told == in_a_clone.splitlines()[-1]
    assert told not in installed


def test_every_engine_is_shown_on_request(tmp_path: Path) -> None:
    _, said, _ = command_line.run(tmp_path, "doctor", "--all", env={"WAN_MINI": "false"})

    lines = said.splitlines()
    assert any(line.endswith("get      wanworker fetch fastwan-5b  (18.8 GB)") for line in lines)
    assert "wan_cli" in said


def test_comfyuis_layout_renders_what_its_files_are_for(tmp_path: Path) -> None:
    root = checkout(tmp_path / "volume" / "ComfyUI")
    fill(root / "models", "fastwan-5b")
    env = {"COMFYUI_ROOT": str(root), "WAN_CKPT_DIR": str(tmp_path / "volume")}

    code, said, complained = command_line.run(tmp_path, "doctor", "--json", env=env)
    report = examined(load_settings(env | {"WAN_OUT_DIR": str(tmp_path)}))

    told = json.loads(said)
    by_task = {entry["task"]: entry for entry in told["engines"] if entry["engine"] == "comfyui"}
    assert row(report, "comfyui", "ti2v-5B").is_ready
    assert report.can_render
    assert ([], None) == (by_task["ti2v-5B"]["missing"], by_task["ti2v-5B"]["fetch"]), complained
    assert (False, "wanworker fetch s2v") == (by_task["s2v-14B"]["ready"], by_task["s2v-14B"]["fetch"])
    assert "diffusion_models/wan2.2_s2v_14B_fp8_scaled.safetensors" in by_task["s2v-14B"]["missing"]
    assert (0 if told["can_render"] else 1) == code


def test_a_comfyui_without_a_card_is_not_ready_and_why_is_said(make_settings: MakeSettings, tmp_path: Path) -> None:
    fill(tmp_path / "models", "fastwan-5b")
    settings = make_settings(comfyui_root=checkout(tmp_path / "ComfyUI"))

    report = examined(settings, dataclasses.replace(MACHINE, gpus=list))

    found = row(report, "comfyui", "ti2v-5B")
    assert ((), "") == (found.missing, found.command)
    assert "no NVIDIA GPU" in found.lacking[0]
    assert not report.can_render


def test_a_truncated_file_is_found_before_an_engine_opens_it(make_settings: MakeSettings, tmp_path: Path) -> None:
    cut = fill(tmp_path / "models", "fastwan-5b")
    cut.write_bytes(cut.read_bytes()[:-2])
    settings = make_settings(comfyui_root=checkout(tmp_path / "ComfyUI"))

    report = examined(settings)

    found = row(report, "comfyui", "ti2v-5B")
    flaw = "71 bytes are there, but the header promises 73"
    assert (f"diffusion_models/wan2.2_ti2v_5B_fp16.safetensors is damaged ({flaw})",) == found.missing
    assert "wanworker fetch fastwan-5b" == found.command
    assert [(cut, flaw)] == [(file.path, file.flaw) for file in report.damaged]
    assert not report.can_render


def test_upstreams_layout_renders_every_task(make_settings: MakeSettings, tmp_path: Path) -> None:
    home, models = make_home(tmp_path)
    settings = make_settings(wan_home=home, ckpt_dir=models, wan_python=willing_python(tmp_path))

    report = examined(settings)

    assert [True] * 5 == [entry.is_ready for entry in report.rows if entry.engine == "wan_cli"]
    assert report.can_render
    assert () == report.damaged
    texts = [check.text for check in report.checks if check.name == "kernel"]
    assert [f"{RAN.text} ({sys.executable}, for diffusers)", f"{RAN.text} ({tmp_path}/python, for wan_cli)"] == texts


def test_a_cut_shard_of_upstreams_is_named_with_its_command(make_settings: MakeSettings, tmp_path: Path) -> None:
    home, models = make_home(tmp_path, tasks=["ti2v-5B"])
    shard = models / "Wan2.2-TI2V-5B" / "diffusion_pytorch_model-00002-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1])
    settings = make_settings(wan_home=home, ckpt_dir=models, wan_python=willing_python(tmp_path))

    report = examined(settings)

    found = row(report, "wan_cli", "ti2v-5B")
    assert f"Wan2.2-TI2V-5B/{shard.name} is damaged" in found.missing[0]
    assert "wanworker fetch cli-ti2v-5b" == found.command
    assert [shard] == [file.path for file in report.damaged]


def test_weights_without_upstreams_program_want_no_fetch(make_settings: MakeSettings, tmp_path: Path) -> None:
    _, models = make_home(tmp_path, tasks=["ti2v-5B"])
    settings = make_settings(wan_home=tmp_path / "nowhere", ckpt_dir=models)

    found = row(examined(settings), "wan_cli", "ti2v-5B")

    assert "generate.py is missing" in found.missing[0]
    assert (1, "") == (len(found.missing), found.command)


def test_a_full_disk_renders_nothing_however_ready_the_engines_are(make_settings: MakeSettings, tmp_path: Path) -> None:
    fill(tmp_path / "models", "fastwan-5b")
    settings = make_settings(comfyui_root=checkout(tmp_path / "ComfyUI"))

    report = examined(settings, dataclasses.replace(MACHINE, free_bytes=lambda _: 12_000_000))

    (full,) = [check for check in report.checks if check.stops_all]
    assert ("videos", f"too little space: 12.0 MB free in {settings.out_dir}") == (full.name, full.text)
    assert row(report, "comfyui", "ti2v-5B").is_ready
    assert not report.can_render


def test_an_output_folder_that_cannot_be_written_and_a_missing_ffmpeg_stop_everything(
    make_settings: MakeSettings, tmp_path: Path
) -> None:
    (tmp_path / "outputs").touch()

    def missing() -> str:
        raise Unfit("There is no ffmpeg here.")

    report = examined(make_settings(), dataclasses.replace(MACHINE, ffmpeg=missing))

    stopping = {check.name: check.text for check in report.checks if check.stops_all}
    assert {"videos", "ffmpeg"} == set(stopping)
    assert "cannot be written" in stopping["videos"]


def test_an_engine_whose_python_runs_no_kernel_is_not_ready(make_settings: MakeSettings, tmp_path: Path) -> None:
    home, models = make_home(tmp_path, tasks=["ti2v-5B"])
    python = willing_python(tmp_path)
    settings = make_settings(wan_home=home, ckpt_dir=models, wan_python=python)
    broken = KernelRun(ran=False, failed=True, text="CUDA error: no kernel image is available")

    report = examined(
        settings, dataclasses.replace(MACHINE, kernel=lambda path: broken if path == str(python) else RAN)
    )

    found = row(report, "wan_cli", "ti2v-5B")
    assert (f"no kernel runs in {python}: CUDA error: no kernel image is available",) == found.lacking
    assert [True, False] == [not check.is_bad for check in report.checks if check.name == "kernel"]
    assert not report.can_render


def test_without_a_card_no_kernel_is_tried(make_settings: MakeSettings) -> None:
    tried: list[str] = []

    def kernel(python: str) -> KernelRun:
        tried.append(python)
        return RAN

    report = examined(make_settings(), dataclasses.replace(MACHINE, gpus=list, kernel=kernel))

    assert [] == tried
    assert [("GPU", True)] == [(check.name, check.is_bad) for check in report.checks if check.name in {"GPU", "kernel"}]


def test_a_comfyui_that_is_no_checkout_is_not_ready(make_settings: MakeSettings, tmp_path: Path) -> None:
    fill(tmp_path / "models", "fastwan-5b")

    found = row(examined(make_settings(comfyui_root=tmp_path / "ComfyUI")), "comfyui", "ti2v-5B")

    assert (f"{tmp_path}/ComfyUI/main.py is missing (COMFYUI_ROOT is ComfyUI's checkout)",) == found.lacking
    assert ((), "") == (found.missing, found.command)


def test_a_remote_comfyui_is_taken_at_its_word(make_settings: MakeSettings, tmp_path: Path) -> None:
    settings = make_settings(comfyui_url="http://127.0.0.1:1", comfyui_root=tmp_path / "ComfyUI")

    found = row(examined(settings), "comfyui", "ti2v-5B")

    assert ((), "") == (found.missing, found.command)
    assert "no ComfyUI server answers at http://127.0.0.1:1" in found.lacking[0]


def test_the_miniature_is_left_out_where_it_may_not_stand_in(make_settings: MakeSettings) -> None:
    engines = {entry.engine for entry in examined(make_settings(mini=False)).rows}

    assert {engine.name for engine in ENGINES} - {"mini", "runpod"} == engines


@pytest.mark.parametrize(("name", "value"), [("COMFYUI_PORT", "abc"), ("WAN_ENGINE", "fast")])
def test_bad_settings_are_exit_2(tmp_path: Path, name: str, value: str) -> None:
    code, said, complained = command_line.run(tmp_path, "doctor", env={name: value})

    assert (2, "") == (code, said)
    assert name in complained
