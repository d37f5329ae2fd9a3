"""The catalogue agrees with the engines: what a set brings is what its engine looks for."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from fakes.wan.home import make_checkpoint
from wanworker.comfyui.server.model_paths import MODEL_FOLDERS
from wanworker.engines import ENGINES
from wanworker.engines.comfyui.graphs import WORKFLOWS, missing_for
from wanworker.engines.wan_cli.checkpoint import locate
from wanworker.models.hub.catalogue import PRESETS, Preset, preset_for
from wanworker.recipes.table import STEP_LORAS
from wanworker.spec import TASKS

COMFYUI = [preset for preset in PRESETS.values() if preset.engine == "comfyui"]
UPSTREAM = [preset for preset in PRESETS.values() if preset.engine == "wan_cli"]


def named(preset: Preset) -> str:
    return preset.name


def files_of(preset: Preset) -> dict[str, list[str]]:
    by_folder: dict[str, list[str]] = {}
    for file in preset.files:
        by_folder.setdefault(file.folder, []).append(file.name)
    return by_folder


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_comfyui_set_brings_every_file_that_the_graphs_of_its_task_name(name: str) -> None:
    workflow = WORKFLOWS[name]
    preset = preset_for("comfyui", workflow.task)

    assert preset is not None
    brought = files_of(preset)
    assert [] == [row for row in workflow.weights.values() if row.default not in brought.get(row.folder, [])]


@pytest.mark.parametrize("preset", COMFYUI, ids=named)
def test_a_comfyui_set_is_all_that_its_engine_misses(preset: Preset) -> None:
    assert () == missing_for(preset.task, files_of(preset))


@pytest.mark.parametrize("preset", COMFYUI, ids=named)
def test_a_comfyui_set_brings_the_lora_that_use_lora_means(preset: Preset) -> None:
    lora = STEP_LORAS[preset.task]
    assert set() == {lora.high, lora.low} - {None, *files_of(preset)["loras"]}


@pytest.mark.parametrize("preset", COMFYUI, ids=named)
def test_a_file_goes_to_a_folder_that_comfyui_knows(preset: Preset) -> None:
    assert set() == set(files_of(preset)) - set(MODEL_FOLDERS)


@pytest.mark.parametrize("preset", UPSTREAM, ids=named)
def test_an_upstream_set_is_a_checkpoint_where_the_engine_looks(preset: Preset, tmp_path: Path) -> None:
    assert preset.tree is not None
    made = make_checkpoint(tmp_path / "repository", preset.task)
    (made / "README.md").write_text("about")
    (made / "assets").mkdir()
    (made / "assets" / "logo.png").write_bytes(b"png")
    wanted = [path for path in made.rglob("*") if path.is_file() and preset.tree.wants(str(path.relative_to(made)))]
    for path in wanted:
        target = tmp_path / "models" / preset.tree.folder / path.relative_to(made)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)

    located = locate(TASKS[preset.task], [tmp_path / "models"])

    assert () == located.missing
    assert ["README.md", "assets/logo.png"] == sorted(
        str(path.relative_to(made)) for path in made.rglob("*") if path.is_file()
    )


def test_every_real_engine_has_a_set_for_each_of_its_tasks() -> None:
    without = [
        (row.name, task)
        for row in ENGINES
        for task in row.capabilities.tasks
        if row.name not in {"mini", "runpod"} and preset_for(row.name, task) is None
    ]

    assert [] == without
    assert preset_for("mini", "t2v-A14B") is None


def test_a_set_has_files_or_a_tree_and_a_name_that_can_be_typed() -> None:
    assert [] == [preset.name for preset in PRESETS.values() if bool(preset.files) == bool(preset.tree)]
    assert [] == [name for name in PRESETS if name != name.lower() or " " in name]


def test_one_file_is_the_same_in_every_set() -> None:
    seen: dict[str, object] = {}

    assert [] == [file for preset in COMFYUI for file in preset.files if seen.setdefault(file.target, file) != file]


def test_a_size_is_unknown_when_a_part_of_it_is() -> None:
    fastwan = PRESETS["fastwan-5b"]
    short = dataclasses.replace(fastwan.files[0], size_bytes=None)

    assert 18_805_841_161 == fastwan.size_bytes
    assert dataclasses.replace(fastwan, files=(short, *fastwan.files[1:])).size_bytes is None
