"""`wanworker serve`: replace this process by the REST server."""

from __future__ import annotations

import argparse
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable

from wanworker.cli._base import Command, read_settings

#: Replace this process by a program: os.execv, or a test's own.
Become = Callable[[str, list[str]], object]


def add_arguments(parser: ArgumentParser) -> None:
    """Add what `serve` takes."""
    parser.add_argument("--host", help="the address to listen at; default: REST_HOST, else 127.0.0.1")
    parser.add_argument("--port", type=_port, metavar="N", help="default: PORT, else REST_PORT, else 8189")


def run(args: Namespace, become: Become = os.execv) -> int:
    """
    Become `python -m wanworker.rest`, and so never return; signals and exit codes are the server's own.

    One door imports no other, and a server that is the process itself needs nobody to pass signals on. Raises
    CommandFailed.
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


def _port(text: str) -> int:
    port = int(text)
    if not 1 <= port <= 65_535:
        raise argparse.ArgumentTypeError(f"must be between 1 and 65535; got {text}")
    return port


_port.__name__ = "port"  # argparse: "invalid port value: 'x'"

COMMAND = Command("serve", "Serve the REST API and its page.", add_arguments, run)
