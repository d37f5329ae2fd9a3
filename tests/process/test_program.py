from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from wanworker.errors import EngineUnavailable
from wanworker.process import Exit, run
from wanworker.process._program import MAX_LINE_BYTES, Lines

ENV = {"PATH": os.defpath}


class Program:
    """A Python program of a few lines, its output as `run` gives it, and the process ids that it tells."""

    def __init__(self, folder: Path, text: str) -> None:
        self.folder = folder
        self.path = folder / "program.py"
        self.path.write_text(textwrap.dedent(text))
        self.lines: list[tuple[str, str]] = []
        self.told = asyncio.Event()

    def on_line(self, stream: str, line: str) -> None:
        self.lines.append((stream, line))
        if line.startswith(("pids ", "  0%|")):
            self.told.set()

    async def run(self, *arguments: str, grace_s: float = 0.2) -> Exit:
        argv = [sys.executable, "-I", str(self.path), *arguments]
        return await run(argv, cwd=self.folder, env=ENV, on_line=self.on_line, stop_grace_s=grace_s)

    @property
    def pids(self) -> list[int]:
        return [int(pid) for _, line in self.lines if line.startswith("pids ") for pid in line.split()[1:]]


def alive(pid: int) -> bool:
    try:
        stat = Path("/proc", str(pid), "stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


#: A program and a grandchild that ignore SIGTERM; the grandchild leaves the process group as well.
STUBBORN = """
    import os, signal, subprocess, sys, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sleep = ("import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
             "print('up', flush=True); time.sleep(60)")
    children = [subprocess.Popen([sys.executable, "-c", sleep], stdout=subprocess.PIPE, start_new_session=own)
                for own in (False, True)]
    for child in children:
        child.stdout.readline()
    print("pids", os.getpid(), *(child.pid for child in children), flush=True)
    time.sleep(60)
"""


async def test_lines_of_both_streams_arrive_with_their_stream(tmp_path: Path) -> None:
    program = Program(tmp_path, "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)")

    ended = await program.run()

    assert ended.code == 3
    assert {("stdout", "out"), ("stderr", "err")} == set(program.lines)
    assert {"out", "err"} == set(ended.tail)
    assert ended.stderr_tail == ("err",)


async def test_arguments_reach_the_program_as_they_are(tmp_path: Path) -> None:
    program = Program(tmp_path, "import sys; print(ascii(sys.argv[1:]))")

    await program.run("--prompt=-x", "a b", "\u96ea\U0001f408", "")

    assert [("stdout", ascii(["--prompt=-x", "a b", "\u96ea\U0001f408", ""]))] == program.lines


async def test_a_bar_is_seen_while_it_stands_and_kept_out_of_the_tail(tmp_path: Path) -> None:
    program = Program(
        tmp_path,
        r"""
        import sys, time
        sys.stderr.write("\r  0%|          | 0/2 [00:00<?, ?it/s]")
        sys.stderr.flush()
        time.sleep(60)
        """,
    )

    async with asyncio.timeout(20):
        task = asyncio.create_task(program.run())
        await program.told.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert ("stderr", "  0%|          | 0/2 [00:00<?, ?it/s]") in program.lines


async def test_the_tail_has_the_last_lines_without_bars(tmp_path: Path) -> None:
    program = Program(tmp_path, "for n in range(200): print('line', n); print('  5%|x   | 1/20 [00:01]')")

    ended = await program.run()

    assert ended.tail[-1] == "line 199"
    assert 50 <= len(ended.tail) <= 100
    assert not [line for line in ended.tail if "%|" in line]


def test_lines_end_at_carriage_returns_too_and_empty_ones_are_left_out() -> None:
    lines = Lines()

    assert lines.feed(b"a\r\nb\n\n") == ["a", "b"]
    assert lines.feed(b"\r1/9") == ["1/9"]
    assert lines.feed(b"\r2/9") == ["2/9"]
    assert lines.feed(b"\n") == []
    assert lines.end() == []


def test_a_character_cut_in_two_chunks_is_whole() -> None:
    lines = Lines()
    data = "sn\u00f6\u96ea\n".encode()

    given = [line for index in range(len(data)) for line in lines.feed(data[index : index + 1])]

    assert given == ["sn\u00f6\u96ea"]


def test_an_endless_line_is_cut() -> None:
    lines = Lines()

    given = [line for _ in range(10) for line in lines.feed(b"x" * MAX_LINE_BYTES)] + lines.feed(b"\nnext\n")

    assert [len(line) for line in given] == [MAX_LINE_BYTES, 4]


def test_a_last_line_without_an_end_is_given() -> None:
    lines = Lines()
    lines.feed(b"last")

    assert lines.end() == ["last"]


async def test_cancellation_ends_the_program_and_its_children_that_ignore_sigterm(tmp_path: Path) -> None:
    program = Program(tmp_path, STUBBORN)
    task = asyncio.create_task(program.run())
    await program.told.wait()

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert len(program.pids) == 3
    assert [pid for pid in program.pids if alive(pid)] == []


async def test_a_second_cancellation_does_not_cut_the_stopping_short(tmp_path: Path) -> None:
    program = Program(tmp_path, STUBBORN)
    task = asyncio.create_task(program.run())
    await program.told.wait()

    task.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert [pid for pid in program.pids if alive(pid)] == []


async def test_a_program_that_obeys_sigterm_is_not_killed(tmp_path: Path) -> None:
    program = Program(
        tmp_path,
        """
        import os, pathlib, signal, sys, time
        def leave(*_):
            pathlib.Path("left-by-itself").touch()
            sys.exit(0)
        signal.signal(signal.SIGTERM, leave)
        print("pids", os.getpid(), flush=True)
        time.sleep(60)
        """,
    )
    task = asyncio.create_task(program.run(grace_s=20))
    await program.told.wait()

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert (tmp_path / "left-by-itself").exists()


async def test_a_deadline_arrives_as_timeout_error(tmp_path: Path) -> None:
    program = Program(tmp_path, STUBBORN)

    async def pass_the_deadline(scope: asyncio.Timeout) -> None:
        await program.told.wait()
        scope.reschedule(0)

    async def run_with_a_deadline() -> None:
        async with asyncio.timeout(60) as scope, asyncio.TaskGroup() as group:
            group.create_task(pass_the_deadline(scope))
            await program.run()

    with pytest.raises(TimeoutError):
        await run_with_a_deadline()

    assert len(program.pids) == 3
    assert [pid for pid in program.pids if alive(pid)] == []


async def test_what_a_program_leaves_holding_its_pipes_neither_hangs_us_nor_lives_on(tmp_path: Path) -> None:
    program = Program(
        tmp_path,
        """
        import subprocess, sys
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
        print("pids", child.pid, flush=True)
        """,
    )

    async with asyncio.timeout(20):
        ended = await program.run()

    assert ended.code == 0
    assert len(program.pids) == 1
    assert [pid for pid in program.pids if alive(pid)] == []


async def test_an_error_of_the_reader_ends_the_program_and_passes(tmp_path: Path) -> None:
    program = Program(tmp_path, STUBBORN)

    def refuse(stream: str, line: str) -> None:
        program.on_line(stream, line)
        raise LookupError(line)

    with pytest.raises(LookupError, match="pids"):
        await run([sys.executable, "-I", str(program.path)], cwd=tmp_path, env=ENV, on_line=refuse, stop_grace_s=0.1)

    assert [pid for pid in program.pids if alive(pid)] == []


async def test_the_code_of_a_killed_program_is_the_signal(tmp_path: Path) -> None:
    program = Program(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")

    ended = await program.run()

    assert ended.code == -signal.SIGKILL


async def test_a_missing_program_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match="no-such-program was not found"):
        await run(["no-such-program"], cwd=tmp_path, env=ENV, on_line=lambda *_: None)


async def test_a_program_without_the_right_to_run_is_unavailable(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")

    with pytest.raises(EngineUnavailable, match="is not executable"):
        await run([str(script)], cwd=tmp_path, env=ENV, on_line=lambda *_: None)


@pytest.mark.parametrize("argument", ["a\0b", "\ud800"])
async def test_an_argument_that_no_program_can_be_given_is_refused(tmp_path: Path, argument: str) -> None:
    with pytest.raises(EngineUnavailable, match="cannot be started"):
        await run(["true", argument], cwd=tmp_path, env=ENV, on_line=lambda *_: None)


async def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match="nowhere"):
        await run(["true"], cwd=tmp_path / "nowhere", env=ENV, on_line=lambda *_: None)


async def test_the_program_sees_only_the_environment_that_it_was_given(tmp_path: Path) -> None:
    program = Program(tmp_path, "import os; print(sorted(set(os.environ) - {'LC_CTYPE'}))")

    await program.run()

    assert program.lines == [("stdout", "['PATH', 'WANWORKER_RUN']")]


#: A grandchild in a session and with an environment of its own, whose parent has ended.
STRAY = """
    import os, subprocess, sys, time
    code = ("import os, subprocess, sys; "
            "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], "
            "env={}, start_new_session=True, stdout=subprocess.DEVNULL); print(child.pid)")
    stray = int(subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, env={}).stdout)
    print("pids", os.getpid(), stray, flush=True)
    if "stay" in sys.argv:
        time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="subreapers are Linux's")
async def test_a_stray_grandchild_without_our_mark_ends_with_a_cancelled_program(tmp_path: Path) -> None:
    program = Program(tmp_path, STRAY)
    task = asyncio.create_task(program.run("stay"))
    await program.told.wait()
    assert len(program.pids) == 2

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert [pid for pid in program.pids if alive(pid)] == []


@pytest.mark.skipif(sys.platform != "linux", reason="subreapers are Linux's")
async def test_a_stray_grandchild_ends_with_a_program_that_ends_by_itself(tmp_path: Path) -> None:
    program = Program(tmp_path, STRAY)

    ended = await program.run()

    assert ended.code == 0
    assert len(program.pids) == 2
    assert [pid for pid in program.pids if alive(pid)] == []


@pytest.mark.skipif(sys.platform != "linux", reason="the death signal is Linux's")
def test_a_killed_worker_takes_its_program_along(tmp_path: Path) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text(
        textwrap.dedent(
            f"""
            import asyncio, sys
            from pathlib import Path
            sys.path[:0] = {[path for path in sys.path if path]!r}
            from wanworker.process import run
            stray = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
            code = ("import subprocess, sys; "
                    f"subprocess.run([sys.executable, '-c', {{stray!r}}], env={{{{}}}}, start_new_session=True)")
            show = lambda _, line: print(line, flush=True)
            asyncio.run(run([sys.executable, "-c", code], cwd=Path.cwd(), env={ENV!r}, on_line=show))
            """
        )
    )
    with subprocess.Popen([sys.executable, str(worker)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        program = int(process.stdout.readline())
        watch = os.pidfd_open(program)
        was_alive = alive(program)

        process.kill()
        ended, _, _ = select.select([watch], [], [], 10)
        os.close(watch)

    assert was_alive
    assert ended
