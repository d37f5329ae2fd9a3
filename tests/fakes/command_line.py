"""The command line as a person runs it: a process of its own, in a folder of its own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping
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


async def run_beside(folder: Path, *argv: str, env: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """Do the same while the event loop of the test serves."""
    return await asyncio.to_thread(run, folder, *argv, env=env)


def environment(folder: Path, more: Mapping[str, str] | None) -> dict[str, str]:
    """Return an environment with nothing of ours in it but where the outputs go, and *more*."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    places = {"HOME": str(folder), "WAN_OUT_DIR": str(folder / "outputs"), "WAN_CKPT_DIR": str(folder / "models")}
    return {**kept, **places, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1", **(more or {})}
