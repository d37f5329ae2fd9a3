from __future__ import annotations

import io

import pytest

from wanworker.cli.terminal.progress_bar import Bar, bar_text
from wanworker.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("progress", "expected"),
    [
        (Progress("sampling", 0.4, 6, 15, 18.0), f"[{'#' * 12}{'.' * 18}]  40 %  sampling 6/15  12 s, about 18 s left"),
        (Progress("loading", 0.0), f"[{'.' * 30}]   0 %  loading  12 s"),
        (Progress("done", 1.0), f"[{'#' * 30}] 100 %  done  12 s"),
    ],
)
def test_the_bar_says_share_stage_steps_and_time(progress: Progress, expected: str) -> None:
    assert expected == bar_text(progress.to_json(), 12.4)


def test_a_job_without_progress_is_starting() -> None:
    assert f"[{'.' * 30}]   0 %  starting  3 s" == bar_text({}, 3.0)


def test_a_terminal_gets_one_line_that_never_wraps() -> None:
    terminal = Terminal()
    bar = Bar(terminal, width=40)

    bar.draw(Progress("sampling", 0.4, 6, 15, 18.0).to_json(), 12)
    bar.close()

    assert "\n" not in terminal.getvalue()
    assert {39} == {len(line) for line in terminal.getvalue().split("\r") if line}


def test_a_file_gets_a_line_for_a_new_stage_or_ten_points_more() -> None:
    log = io.StringIO()
    bar = Bar(log, width=80)

    for fraction in (0.0, 0.01, 0.09, 0.1, 0.11, 0.25):
        bar.draw(Progress("sampling", fraction).to_json(), 1)
    bar.draw(Progress("writing", 0.26).to_json(), 1)
    bar.close()

    shown = [line.split("]")[1].split("  1 s")[0].strip() for line in log.getvalue().splitlines()]
    assert ["0 %  sampling", "10 %  sampling", "25 %  sampling", "26 %  writing"] == shown


def test_the_bar_never_falls() -> None:
    log = io.StringIO()
    bar = Bar(log, width=80)

    bar.draw(Progress("sampling", 0.5).to_json(), 1)
    bar.draw(Progress("decoding", 0.2).to_json(), 1)

    assert " 50 %  decoding" in log.getvalue().splitlines()[1]


def test_a_servers_stage_stays_on_its_line() -> None:
    assert r"\x1b[2J\nforged" in bar_text({"progress": 1, "stage": "\x1b[2J\nforged"}, 1.0)
