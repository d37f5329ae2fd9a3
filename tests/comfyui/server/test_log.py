"""The log of a ComfyUI server: bounded, the last lines known, a full disk survived."""

from __future__ import annotations

from pathlib import Path

import pytest

from wanworker.comfyui.server._log import ServerLog
from wanworker.text import secrets


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "comfyui.log"


def test_lines_are_kept_with_their_time_over_several_servers(path: Path) -> None:
    log = ServerLog(path)
    for number in (1, 2):
        log.begin(f"main.py, start {number}")
        log.add(f"line {number}")
        log.close()

    lines = [line.split(" ", 1) for line in path.read_text().splitlines()]
    assert ["--- main.py, start 1", "line 1", "--- main.py, start 2", "line 2"] == [text for _, text in lines]
    assert all(len("2026-01-22T22:04:27Z") == len(stamp) for stamp, _ in lines)
    assert ("line 2",) == log.tail


def test_the_files_stay_within_their_bound_and_hold_the_newest_lines(path: Path) -> None:
    log = ServerLog(path, limit_bytes=2000)
    log.begin("main.py")
    for number in range(1000):
        log.add(f"line {number}")
    log.close()

    older = path.with_name("comfyui.log.1")
    assert {path, older} == set(path.parent.iterdir())
    assert path.stat().st_size <= 2000
    assert older.stat().st_size <= 2000
    assert path.read_text().endswith("line 999\n")


def test_the_bound_holds_over_restarts(path: Path) -> None:
    for _ in range(100):
        log = ServerLog(path, limit_bytes=500)
        log.begin("main.py with a long command line " + "x" * 50)
        log.close()

    assert path.stat().st_size <= 500


def test_a_progress_bar_is_a_sign_of_life_and_no_line(path: Path) -> None:
    times = iter([0.0, 1.0, 2.0])
    log = ServerLog(path, clock=lambda: next(times))
    log.begin("main.py")
    log.add(" 50%|#####     | 2/4 [00:01<00:01,  1.90it/s]")
    log.close()

    assert 2.0 == log.moved_at
    assert () == log.tail
    assert "50%" not in path.read_text()


def test_the_last_words_leave_the_frames_of_a_traceback_out(path: Path) -> None:
    log = ServerLog(path)
    log.begin("main.py")
    for line in ("Device: cpu", "Traceback (most recent call last):", '  File "/x/main.py", line 3, in <module>',
                 "    import torchsde", "ModuleNotFoundError: No module named 'torchsde'"):  # fmt: skip
        log.add(line)
    log.close()

    assert "Device: cpu | ModuleNotFoundError: No module named 'torchsde'" == log.last_words()
    assert "/x/main.py" in path.read_text()


def test_last_words_are_short(path: Path) -> None:
    log = ServerLog(path)
    log.add("x" * 100_000)

    assert 300 == len(log.last_words())


def test_a_log_that_cannot_be_written_is_said_once_and_the_lines_are_known(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    log = ServerLog(tmp_path / "file" / "comfyui.log")
    log.begin("main.py")
    log.add("one")
    log.add("two")

    assert ("one", "two") == log.tail
    assert 1 == caplog.text.count("is no longer written")


def test_a_full_disk_is_said_once_and_the_lines_are_known(caplog: pytest.LogCaptureFixture) -> None:
    log = ServerLog(Path("/dev/full"))
    log.begin("main.py")
    log.add("one")

    assert ("one",) == log.tail
    assert 1 == caplog.text.count("is no longer written")


def test_of_a_line_of_thousands_of_characters_the_beginning_is_kept(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that prints pictures as text must not keep the event loop busy with the search for secrets in them."""
    monkeypatch.setattr(secrets, "_known", {"correct-horse-battery"})
    log = ServerLog(path)
    log.begin("a server")
    log.add("x" * 1990 + "correct-horse-battery" + "y" * 14_000)
    log.close()
    written = log.path.read_text().splitlines()[-1]

    assert written.endswith("... (16,011 characters)")
    assert len(written) < 2100
    assert "corr" not in written
