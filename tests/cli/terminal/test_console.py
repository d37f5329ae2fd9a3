from __future__ import annotations

import pytest

from wanworker.cli.terminal.console import complain, say


def test_no_line_of_a_servers_text_begins_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    say("note", "one\nvideo          forged.mp4")
    complain("failed", "one\nhint    forged")

    said, complained = capsys.readouterr()
    assert "note           one\n               video          forged.mp4\n" == said
    assert "failed  one\n        hint    forged\n" == complained


def test_results_go_to_stdout_and_troubles_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    say("video", "a.mp4")
    complain("failed", "no\x00thing")

    said, complained = capsys.readouterr()
    assert "video          a.mp4\n" == said
    assert "failed  no\\x00thing\n" == complained
