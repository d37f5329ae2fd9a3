"""Wan folders in diffusers' layout, told from their files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fakes.wan_folder import ONE_EXPERT, safetensors, wan_folder
from wanworker.models.files.layouts import Layouts, read_folder, task_of_config


@pytest.mark.parametrize(
    ("channels", "experts", "expand_timesteps", "expected"),
    [
        ((16, 16), 2, False, "t2v-A14B"),
        ((36, 16), 2, False, "i2v-A14B"),
        ((48, 48), 1, True, "ti2v-5B"),
        ((48, 48), 1, False, "ti2v-5B"),
        ((16, 16), 1, False, None),
        ((36, 16), 1, False, None),
        ((32, 16), 2, False, None),
    ],
)
def test_the_task_is_told_from_the_channels(
    channels: tuple[int, int], experts: int, *, expand_timesteps: bool, expected: str | None
) -> None:
    config = {"in_channels": channels[0], "out_channels": channels[1]}

    assert expected == task_of_config(config, experts=experts, expand_timesteps=expand_timesteps)


def test_a_whole_folder_has_its_sizes_in_memory_and_no_faults(tmp_path: Path) -> None:
    folder = read_folder(wan_folder(tmp_path / "a"))

    assert folder is not None
    assert () == folder.faults
    assert ("t2v-A14B", 2, False) == (folder.task, folder.experts, folder.is_distilled)
    assert {"transformer": 20, "transformer_2": 20, "text_encoder": 20, "vae": 40} == folder.sizes_bytes


@pytest.mark.parametrize(
    "place", ["a", "Wan-AI/a", "x/y/a", "models--Wan-AI--a/snapshots/0123abcd", "x/models--b--a/snapshots/01"]
)
def test_folders_are_found_three_levels_deep_and_in_the_hub_cache(tmp_path: Path, place: str) -> None:
    wan_folder(tmp_path / place)

    assert [tmp_path / place] == [folder.path for folder in Layouts([tmp_path]).all()]


def test_a_models_folder_may_be_the_model_itself(tmp_path: Path) -> None:
    wan_folder(tmp_path / "a")

    assert 1 == len([*Layouts([tmp_path / "a"]).all()])


def test_folders_too_deep_and_hidden_ones_are_not_searched(tmp_path: Path) -> None:
    wan_folder(tmp_path / "1/2/3/4")
    wan_folder(tmp_path / ".trash/a")

    assert [] == [*Layouts([tmp_path, tmp_path / "absent"]).all()]


@pytest.mark.parametrize(
    ("text", "kind"), [("{", "no JSON"), ("[]", "no object"), ('{"_class_name": "WanVACEPipeline"}', "another class")]
)
def test_what_is_no_pipeline_of_ours_is_passed_over(tmp_path: Path, text: str, kind: str) -> None:
    (tmp_path / "model_index.json").write_text(text)

    assert read_folder(tmp_path) is None, kind


def test_wan_2_1_is_passed_over(tmp_path: Path) -> None:
    assert read_folder(wan_folder(tmp_path / "Wan2.1-T2V-14B-Diffusers", components=ONE_EXPERT)) is None


def test_what_is_missing_or_damaged_is_said(tmp_path: Path) -> None:
    path = wan_folder(tmp_path / "a")
    (path / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    weights = path / "transformer_2" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    (path / "scheduler" / "config.json").unlink()

    folder = read_folder(path)

    assert folder is not None
    assert 3 == len(folder.faults)
    assert "a/vae/diffusion_pytorch_model.safetensors is missing" in folder.faults
    assert "a/scheduler is missing or empty" in folder.faults
    assert any(
        line.startswith("a/transformer_2/diffusion_pytorch_model.safetensors is damaged") for line in folder.faults
    )


def test_every_shard_of_an_index_must_be_there(tmp_path: Path) -> None:
    path = wan_folder(tmp_path / "a")
    shards = {"one": "m-00001-of-00002.safetensors", "two": "m-00002-of-00002.safetensors"}
    (path / "transformer" / "diffusion_pytorch_model.safetensors.index.json").write_text(
        json.dumps({"weight_map": shards})
    )
    safetensors(path / "transformer" / shards["one"])

    folder = read_folder(path)

    assert folder is not None
    assert ("a/transformer/m-00002-of-00002.safetensors is missing",) == folder.faults


def test_half_a_download_is_known_by_its_name(tmp_path: Path) -> None:
    path = wan_folder(tmp_path / "Wan2.2-I2V-A14B-Diffusers")
    (path / "transformer" / "config.json").unlink()

    folder = read_folder(path)

    assert folder is not None
    assert "i2v-A14B" == folder.task
    assert ("Wan2.2-I2V-A14B-Diffusers/transformer/config.json is missing",) == folder.faults


def test_a_distilled_folder_and_a_broken_one_are_told_from_the_others(tmp_path: Path) -> None:
    common: dict[str, Any] = {"components": ONE_EXPERT, "channels": (48, 48), "expand_timesteps": True}
    (wan_folder(tmp_path / "a-broken", **common) / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    wan_folder(tmp_path / "b-fast", kind="WanDMDPipeline", **common)
    wan_folder(tmp_path / "c-base", **common)

    found = {folder.path.name: folder for folder in Layouts([tmp_path]).all()}

    assert [True, False, False] == [bool(found[name].faults) for name in ("a-broken", "b-fast", "c-base")]
    assert ["b-fast"] == [name for name, folder in found.items() if folder.is_distilled]


def test_a_download_that_ends_is_noticed(tmp_path: Path) -> None:
    path = wan_folder(tmp_path / "a")
    weights = path / "vae" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".part"))
    layouts = Layouts([tmp_path])
    before = next(layouts.all()).faults
    weights.with_suffix(".part").rename(weights)

    after = next(layouts.all()).faults

    assert 1 == len(before)
    assert () == after


def test_a_folder_that_did_not_change_is_not_read_again(tmp_path: Path) -> None:
    wan_folder(tmp_path / "a")
    layouts = Layouts([tmp_path])

    assert next(layouts.all()) is next(layouts.all())
