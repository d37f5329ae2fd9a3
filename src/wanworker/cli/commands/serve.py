"""`wanworker serve`: replace this process by the REST server."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import typer

from wanworker.cli._base import Command, read_settings

#: A function that replaces this process by a program: os.execv, or a test's own.
Become = Callable[[str, list[str]], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """Hold the arguments of `serve`."""

    host: Annotated[
        str | None,
        typer.Option(
            "--host",
            metavar="ADDRESS",
            help="The address that the server listens at. By default it is REST_HOST, or else 127.0.0.1.",
        ),
    ] = None
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            metavar="N",
            min=1,
            max=65_535,
            help="The port that the server listens at. By default it is PORT, or else REST_PORT, or else 8189.",
        ),
    ] = None


def run(args: ServeOptions, become: Become = os.execv) -> int:
    """
    Become `python -m wanworker.rest`, and so never return. Signals and exit codes are the server's own.

    A new process image is used because one door may not import another, and because nothing then has to pass signals
    on. Raises CommandFailed.
    """
    read_settings()
    argv = [sys.executable, "-m", "wanworker.rest"]
    if args.host is not None:
        argv += ["--host", args.host]
    if args.port is not None:
        argv += ["--port", str(args.port)]
    sys.stdout.flush()
    sys.stderr.flush()
    become(sys.executable, argv)
    return 0


COMMAND = Command("serve", "Start the REST API and its web page.", ServeOptions, run)
