from __future__ import annotations

from pathlib import Path

import pytest

from wanworker.cli._base import EXIT_USAGE, CommandFailed
from wanworker.cli.terminal.files import check_output


@pytest.mark.parametrize(
    ("name", "expected"), [("there.mp4", "already exists"), ("folder", "is a folder"), ("no/a.mp4", "does not exist")]
)
def test_an_output_that_cannot_be_is_refused_before_anything_runs(tmp_path: Path, name: str, expected: str) -> None:
    (tmp_path / "there.mp4").touch()
    (tmp_path / "folder").mkdir()

    with pytest.raises(CommandFailed, match=expected) as caught:
        check_output(tmp_path / name, force=False)

    assert EXIT_USAGE == caught.value.exit_code


def test_force_takes_a_file_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "there.mp4").touch()

    check_output(tmp_path / "there.mp4", force=True)

    with pytest.raises(CommandFailed, match="is a folder"):
        check_output(tmp_path, force=True)
