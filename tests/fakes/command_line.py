"""The command line as a person runs it: a process of its own, in a folder of its own."""

from __future__ import annotations

import asyncio
import fcntl
import os
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import typer

from wanworker.cli._render_options import with_bare_lora

Options = TypeVar("Options")

SOURCE = Path(__file__).resolve().parents[2] / "src"


def parsed(options: type[Options], *argv: str) -> Options:
    """Return what a command is given that takes *options*. Raises typer.TyperException."""
    app = typer.Typer(add_completion=False)
    app.command()(options)
    given = app(args=with_bare_lora(argv), standalone_mode=False)
    assert isinstance(given, options)
    return given


def start(folder: Path, *argv: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start `python -m wanworker` with *argv* in *folder*, its outputs below it."""
    return subprocess.Popen(
        [sys.executable, "-m", "wanworker", *argv],
        cwd=folder,
        env=environment(folder, env),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(folder: Path, *argv: str, env: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """Return the exit code and what was said on stdout and on stderr."""
    process = start(folder, *argv, env=env)
    said, complained = process.communicate(timeout=90)
    return process.returncode, said, complained


def on_terminal(
    folder: Path,
    *argv: str,
    columns: int,
    env: Mapping[str, str] | None = None,
    at: Callable[[str, subprocess.Popen[bytes]], object] | None = None,
) -> tuple[int, str]:
    """Run it on a terminal of *columns*; return the exit code and all that was written. *at* sees what is so far."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    line = [sys.executable, "-m", "wanworker", *argv]
    env = {"TERM": "xterm", **environment(folder, env)}
    process = subprocess.Popen(line, cwd=folder, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    while part := _read(ours):
        shown += part
        if at is not None:
            at(shown.decode(errors="replace"), process)
    os.close(ours)
    return process.wait(timeout=30), shown.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # Linux: nobody has the other end open any more
        return b""


async def run_beside(folder: Path, *argv: str, env: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """Do the same while the event loop of the test serves."""
    return await asyncio.to_thread(run, folder, *argv, env=env)


def environment(folder: Path, more: Mapping[str, str] | None) -> dict[str, str]:
    """Return an environment with nothing of ours in it but where the outputs go, and *more*."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    places = {"HOME": str(folder), "WAN_OUT_DIR": str(folder / "outputs"), "WAN_CKPT_DIR": str(folder / "models")}
    return {**kept, **places, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1", **(more or {})}
