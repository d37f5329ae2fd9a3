from __future__ import annotations

import io
import re
import time
from collections.abc import Callable

import pytest

from wanworker.cli.terminal.live_progress import LiveProgress, progress_text
from wanworker.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    return Terminal()


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait for what rich draws in its own thread; pytest's timeout is the limit."""
    while not holds():
        time.sleep(0.001)


@pytest.mark.parametrize(
    ("progress", "expected"),
    [
        (Progress("sampling", 0.4, 6, 15, 18.0), " 40 %  sampling 6/15  12 s, about 18 s left"),
        (Progress("loading", 0.0), "  0 %  loading  12 s"),
        (Progress("done", 1.0), "100 %  done  12 s"),
    ],
)
def test_a_line_says_share_stage_steps_and_time(progress: Progress, expected: str) -> None:
    assert expected == progress_text(progress.to_json(), 12.4)


def test_a_job_without_progress_is_starting() -> None:
    assert "  0 %  starting  3 s" == progress_text({}, 3.0)


def test_a_servers_stage_is_one_line_and_cannot_steer_the_terminal(terminal: Terminal) -> None:
    with LiveProgress(terminal) as live:
        live.show({"stage": "[red]saving\n\x1b]0;title\x07"})
        wait_until(lambda: "saving" in terminal.getvalue())

    assert "[red]saving \\x1b]0;title\\x07" in terminal.getvalue()
    assert "\x1b]" not in terminal.getvalue()


def test_a_terminal_gets_a_bar_that_is_redrawn_and_then_wiped_out(terminal: Terminal) -> None:
    with LiveProgress(terminal) as live:
        live.report(Progress("sampling", 0.4, 6, 15))
        wait_until(lambda: "40 %  sampling 6/15" in terminal.getvalue())
        drawn = terminal.getvalue()
        wait_until(lambda: terminal.getvalue().count("sampling") > drawn.count("sampling"))

    assert "\x1b[?25l" in drawn
    assert terminal.getvalue().endswith("\x1b[2K")
    assert "\x1b[?25h" in terminal.getvalue().removeprefix(drawn)


@pytest.mark.parametrize("columns", ["30", "40", "100"])
def test_the_bar_never_wraps_and_shrinks_before_its_line(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    with LiveProgress(terminal) as live:
        live.report(Progress("sampling", 0.4, 6, 15))
        wait_until(lambda: " 40 %  sampling 6/15  0 s" in terminal.getvalue())
        drawn = terminal.getvalue()

    assert "\n" not in drawn
    assert [] == [frame for frame in re.sub(r"\x1b\[[\d?]*\w", "", drawn).split("\r") if len(frame) > int(columns)]


def test_a_dumb_terminal_gets_lines(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")

    with LiveProgress(terminal, clock=lambda: 0.0) as live:
        live.report(Progress("sampling", 0.4))

    assert "  0 %  starting  0 s\n 40 %  sampling  0 s\n" == terminal.getvalue()


def test_a_file_gets_a_line_for_a_new_stage_or_ten_points_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    log = io.StringIO()

    with LiveProgress(log, clock=lambda: 0.0) as live:
        for fraction in (0.0, 0.01, 0.09, 0.1, 0.11, 0.25):
            live.report(Progress("sampling", fraction))
        live.report(Progress("writing", 0.26))

    shown = [line.removesuffix("  0 s").strip() for line in log.getvalue().splitlines()]
    assert ["0 %  starting", "0 %  sampling", "10 %  sampling", "25 %  sampling", "26 %  writing"] == shown


def test_progress_never_falls() -> None:
    log = io.StringIO()

    with LiveProgress(log) as live:
        live.report(Progress("sampling", 0.5))
        live.report(Progress("decoding", 0.2))

    assert " 50 %  decoding" in log.getvalue().splitlines()[2]


def test_nothing_is_shown_after_the_end(terminal: Terminal) -> None:
    with LiveProgress(terminal) as live:
        live.end()
        wiped = terminal.getvalue()
        live.show({"stage": "late"})

    assert wiped == terminal.getvalue()
