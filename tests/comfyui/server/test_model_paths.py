"""extra_model_paths.yaml, read back with PyYAML, which is what ComfyUI reads it with."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from wanworker.comfyui.server.model_paths import (
    MODEL_FOLDERS,
    extra_model_paths,
    models_folders,
    write_extra_model_paths,
)


def places(text: str, name: str) -> list[str]:
    """Where a server that reads *text* looks for *name*, in order."""
    return [path for section in yaml.safe_load(text).values() for path in section[name].split("\n")]


def test_both_layouts_of_a_volume_are_found(tmp_path: Path) -> None:
    (tmp_path / "ComfyUI" / "models").mkdir(parents=True)

    text = extra_model_paths([tmp_path])

    assert [f"{tmp_path}/loras", f"{tmp_path}/ComfyUI/models/loras"] == places(text, "loras")


def test_a_repository_that_hugging_faces_cache_holds_is_a_models_folder(tmp_path: Path) -> None:
    split = tmp_path / "models--Comfy-Org--Wan_2.2_ComfyUI_Repackaged" / "snapshots" / "abc" / "split_files"
    split.mkdir(parents=True)

    assert (tmp_path, split) == models_folders([tmp_path])


def test_older_places_of_the_same_files_are_listed_after_the_present_ones(tmp_path: Path) -> None:
    text = extra_model_paths([tmp_path])

    assert [f"{tmp_path}/diffusion_models", f"{tmp_path}/unet"] == places(text, "diffusion_models")
    assert [f"{tmp_path}/text_encoders", f"{tmp_path}/clip"] == places(text, "text_encoders")


def test_every_model_folder_is_listed_though_it_is_not_there_yet(tmp_path: Path) -> None:
    (section,) = yaml.safe_load(extra_model_paths([tmp_path])).values()

    assert set(MODEL_FOLDERS) == set(section)
    wan_needs = {"diffusion_models", "text_encoders", "vae", "loras", "clip_vision", "audio_encoders", "model_patches"}
    assert wan_needs <= set(section)


def test_roots_keep_their_order_and_missing_ones_are_left_out(tmp_path: Path) -> None:
    roots = [tmp_path / "b", tmp_path / "missing", tmp_path / "a"]
    for name in "ab":
        (tmp_path / name).mkdir()

    assert [f"{tmp_path}/b/vae", f"{tmp_path}/a/vae"] == places(extra_model_paths(roots), "vae")


def test_a_folder_that_two_names_lead_to_is_listed_once(tmp_path: Path) -> None:
    (tmp_path / "runpod-volume").mkdir()
    (tmp_path / "workspace").symlink_to(tmp_path / "runpod-volume")

    assert (tmp_path / "workspace",) == models_folders([tmp_path / "workspace", tmp_path / "runpod-volume"])


def test_a_root_given_twice_or_relatively_is_listed_once_and_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path)

    assert (tmp_path / "models",) == models_folders([Path("models"), tmp_path / "models"])


def test_no_root_gives_a_document_that_the_server_can_go_through() -> None:
    assert {} == yaml.safe_load(extra_model_paths([]))


@pytest.mark.parametrize(
    "name",
    ["with space", "a: b", "#1", 'quo"te', "it's", "back\\slash", "$HOME", "{x}", "caf\u00e9", "\U0001f600", "\x7f"],
)  # fmt: skip
def test_a_path_of_any_characters_comes_through(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()

    assert [f"{tmp_path / name}/vae"] == places(extra_model_paths([tmp_path / name]), "vae")


def test_a_path_that_is_no_text_comes_through(tmp_path: Path) -> None:
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    root.mkdir()

    (place,) = places(extra_model_paths([root]), "vae")

    assert os.fsencode(root) + b"/vae" == os.fsencode(place)


def test_a_path_with_a_line_end_is_left_out_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a\nb").mkdir()

    assert {} == yaml.safe_load(extra_model_paths([tmp_path / "a\nb"]))
    assert "line end" in caplog.text


def test_the_same_folders_give_the_same_text(tmp_path: Path) -> None:
    assert extra_model_paths([tmp_path]) == extra_model_paths([tmp_path])


def test_the_file_is_written_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "extra_model_paths.yaml"

    written = write_extra_model_paths(path, [tmp_path])

    assert path == written
    assert extra_model_paths([tmp_path]) == path.read_text()
    assert [path] == list(tmp_path.iterdir())
