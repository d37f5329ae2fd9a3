from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from fakes.wan.home import FOLDERS, make_checkpoint, write_safetensors
from wanworker.engines._capabilities import WAN_CLI
from wanworker.engines.wan_cli.checkpoint import locate
from wanworker.spec import TASKS

#: The tasks of upstream's own program.
UPSTREAM = [task for task in TASKS if task in WAN_CLI.tasks]


@pytest.mark.parametrize("task", UPSTREAM)
def test_a_checkpoint_is_found_below_a_models_folder(tmp_path: Path, task: str) -> None:
    folder = make_checkpoint(tmp_path / "b" / FOLDERS[task], task)

    located = locate(TASKS[task], [tmp_path / "a", tmp_path / "b"])

    assert located.folder == folder
    assert located.missing == ()


@pytest.mark.parametrize("task", UPSTREAM)
def test_the_models_folder_may_be_the_checkpoint_itself(tmp_path: Path, task: str) -> None:
    make_checkpoint(tmp_path / "ckpt", task)

    assert locate(TASKS[task], [tmp_path / "ckpt"]).folder == tmp_path / "ckpt"


@pytest.mark.parametrize("task", UPSTREAM)
def test_a_checkpoint_is_no_other_tasks_checkpoint(tmp_path: Path, task: str) -> None:
    make_checkpoint(tmp_path, task)

    found = [other for other in UPSTREAM if locate(TASKS[other], [tmp_path]).folder]

    assert found == [task]


def test_weights_in_one_file_need_no_index(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "Wan2.2-TI2V-5B", "ti2v-5B")
    for path in folder.glob("diffusion_pytorch_model*"):
        path.unlink()
    write_safetensors(folder / "diffusion_pytorch_model.safetensors")

    assert locate(TASKS["ti2v-5B"], [tmp_path]).folder == folder


def test_nothing_at_all_names_the_folder_and_where_it_was_looked_for(tmp_path: Path) -> None:
    located = locate(TASKS["t2v-A14B"], [tmp_path / "a", tmp_path / "b"])

    assert located.folder is None
    assert located.missing == ("no folder Wan2.2-T2V-A14B",)
    assert str(tmp_path / "b" / "Wan2.2-T2V-A14B") in located.searched


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("Wan2.1_VAE.pth", "Wan2.2-T2V-A14B/Wan2.1_VAE.pth is missing"),
        ("google", "Wan2.2-T2V-A14B/google/umt5-xxl/ is missing"),
        ("low_noise_model/config.json", "Wan2.2-T2V-A14B/low_noise_model/config.json is missing"),
        (
            "high_noise_model/diffusion_pytorch_model-00002-of-00002.safetensors",
            "Wan2.2-T2V-A14B/high_noise_model/diffusion_pytorch_model-00002-of-00002.safetensors is missing",
        ),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, path: str, says: str) -> None:
    target = make_checkpoint(tmp_path / "Wan2.2-T2V-A14B", "t2v-A14B") / path
    shutil.rmtree(target) if target.is_dir() else target.unlink()

    assert locate(TASKS["t2v-A14B"], [tmp_path]).missing == (says,)


def test_a_cut_file_and_an_empty_one_are_not_whole(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "Wan2.2-TI2V-5B", "ti2v-5B")
    shard = folder / "diffusion_pytorch_model-00001-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1])
    (folder / "Wan2.2_VAE.pth").write_bytes(b"")

    vae, weights = locate(TASKS["ti2v-5B"], [tmp_path]).missing

    assert vae == "Wan2.2-TI2V-5B/Wan2.2_VAE.pth is missing"
    assert f"{shard.name} is damaged: " in weights


def test_another_models_weights_under_this_name_are_told(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "Wan2.2-I2V-A14B", "i2v-A14B")
    (folder / "low_noise_model/config.json").write_text(json.dumps({"in_dim": 16}))

    missing = locate(TASKS["i2v-A14B"], [tmp_path]).missing

    assert missing == ("Wan2.2-I2V-A14B/low_noise_model/config.json is another model's (in_dim 16, not 36)",)


def test_a_snapshot_in_hugging_faces_cache_is_a_checkpoint_too(tmp_path: Path) -> None:
    repository = tmp_path / "hub" / "models--Wan-AI--Wan2.2-TI2V-5B"
    blobs = make_checkpoint(repository / "blobs", "ti2v-5B")
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    for entry in blobs.iterdir():
        (snapshot / entry.name).symlink_to(entry)

    assert locate(TASKS["ti2v-5B"], [tmp_path / "models", tmp_path / "hub"]).folder == snapshot


def test_half_a_snapshot_says_what_is_missing_from_it(tmp_path: Path) -> None:
    snapshot = tmp_path / "hub" / "models--Wan-AI--Wan2.2-TI2V-5B" / "snapshots" / "abc"
    make_checkpoint(snapshot, "ti2v-5B")
    (snapshot / "Wan2.2_VAE.pth").unlink()

    located = locate(TASKS["ti2v-5B"], [tmp_path / "hub"])

    assert located.folder is None
    assert located.missing == ("abc/Wan2.2_VAE.pth is missing",)
    assert str(snapshot) in located.searched
