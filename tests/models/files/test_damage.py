"""Damage that shows in the first and last bytes of a weight file."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from fakes.wan.home import write_safetensors
from wanworker.models.files.damage import Damaged, damaged_in, flaw_of


def write_pth(path: Path) -> Path:
    """Write a zip file as torch.save does."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"x" * 500)
    return path


def test_whole_files_have_no_flaw(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "a.safetensors")
    write_pth(tmp_path / "b.pth")
    (tmp_path / "older.pth").write_bytes(b"\x80\x02pickled")

    assert ["", "", ""] == [flaw_of(path) for path in sorted(tmp_path.iterdir())]
    assert () == damaged_in([tmp_path])


@pytest.mark.parametrize("cut", [1, 3, 40])
def test_a_truncated_safetensors_is_found(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.safetensors"
    write_safetensors(path)
    path.write_bytes(path.read_bytes()[:-cut])

    (found,) = damaged_in([tmp_path])

    assert path == found.path
    assert str(path.stat().st_size) in found.flaw


def test_a_truncated_checkpoint_of_torch_is_found_by_its_missing_end(tmp_path: Path) -> None:
    path = write_pth(tmp_path / "models_t5.pth")
    path.write_bytes(path.read_bytes()[:300])

    assert (Damaged(path, "the file is cut short"),) == damaged_in([tmp_path])


def test_an_empty_file_and_a_link_to_nothing_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.pth").touch()
    (tmp_path / "b.safetensors").symlink_to(tmp_path / "gone")

    assert ["the file is empty", "the link leads nowhere"] == [file.flaw for file in damaged_in([tmp_path])]


def test_a_file_is_named_once_and_what_is_no_weights_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "loras").mkdir()
    (tmp_path / "loras" / "half.safetensors").write_bytes(b"x")
    (tmp_path / "loras" / "half.safetensors.abc.part").write_bytes(b"x")
    (tmp_path / "loras" / "notes.txt").touch()
    (tmp_path / "again").symlink_to(tmp_path / "loras")

    found = damaged_in([tmp_path / "loras", tmp_path / "again", tmp_path / "missing", tmp_path])

    assert [tmp_path / "loras" / "half.safetensors"] == [file.path for file in found]
