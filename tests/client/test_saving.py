from __future__ import annotations

from pathlib import Path

import pytest

from wanworker.client.saving import fit_name, put_in_place, unfinished_beside


def place(path: Path, text: str, *, force: bool = False) -> Path:
    with unfinished_beside(path) as part:
        part.write_text(text)
        return put_in_place(part, path, force=force)


def test_a_file_is_put_in_its_place_and_nothing_else_is_left(tmp_path: Path) -> None:
    assert tmp_path / "a.mp4" == place(tmp_path / "a.mp4", "new")

    assert ["a.mp4"] == [path.name for path in tmp_path.iterdir()]
    assert "new" == (tmp_path / "a.mp4").read_text()


def test_a_file_that_has_come_meanwhile_is_kept(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("old")
    (tmp_path / "a-2.mp4").write_text("older")

    assert tmp_path / "a-3.mp4" == place(tmp_path / "a.mp4", "new")
    assert ["older", "new", "old"] == [path.read_text() for path in sorted(tmp_path.iterdir())]


def test_force_replaces_a_file_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("old")

    assert tmp_path / "a.mp4" == place(tmp_path / "a.mp4", "new", force=True)
    assert "new" == (tmp_path / "a.mp4").read_text()


def test_a_new_file_has_the_permissions_of_any_other(tmp_path: Path) -> None:
    (tmp_path / "other").touch()

    path = place(tmp_path / "a.mp4", "new")

    assert (tmp_path / "other").stat().st_mode == path.stat().st_mode


def test_what_is_not_finished_is_gone(tmp_path: Path) -> None:
    with unfinished_beside(tmp_path / "a.mp4") as part:
        part.write_text("half")

    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a video.mp4", "a_video.mp4"),
        ("../../.bashrc", "bashrc"),
        ("C:\\x\\clip.webm", "clip.webm"),
        ("a\x1b[2Jb.mp4", "a_2Jb.mp4"),
        ("...", "job.mp4"),
        ("", "job.mp4"),
        ("x" * 200 + ".mp4", "x" * 96 + ".mp4"),
    ],
)
def test_a_servers_name_becomes_a_plain_one(name: str, expected: str) -> None:
    assert expected == fit_name(name, "job.mp4")
