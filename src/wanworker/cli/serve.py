"""`wanworker serve`: the REST API and its page, in place of this process."""

from __future__ import annotations

import argparse
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable

from wanworker.cli.base import Command, read_settings

#: Replace this process by a program found on PATH: os.execvp, or a test's own.
Become = Callable[[str, list[str]], object]


def add_arguments(parser: ArgumentParser) -> None:
    """Add what `serve` takes."""
    parser.add_argument("--host", help="the address to listen at; default: REST_HOST, else 127.0.0.1")
    parser.add_argument("--port", type=_port, metavar="N", help="default: REST_PORT, else 8189")


def run(args: Namespace, become: Become = os.execvp) -> int:
    """
    Become `python -m wanworker.rest`, and so never return; signals and exit codes are the server's own.

    One door imports no other. The arguments travel as the variables that they override, by env(1); a port that is
    named outweighs the PORT of a load balancer, and what that would allow. Raises CommandFailed.
    """
    read_settings()
    argv = ["env"]
    if args.port is not None:
        argv += ["-u", "PORT", f"REST_PORT={args.port}"]
    if args.host is not None:
        argv += [f"REST_HOST={args.host}"]
    argv += [sys.executable, "-m", "wanworker.rest"]
    sys.stdout.flush()
    sys.stderr.flush()
    become(argv[0], argv)
    return 0


def _port(text: str) -> int:
    port = int(text)
    if not 1 <= port <= 65_535:
        raise argparse.ArgumentTypeError(f"must be between 1 and 65535; got {text}")
    return port


_port.__name__ = "port"  # argparse: "invalid port value: 'x'"

COMMAND = Command("serve", "Serve the REST API and its page.", add_arguments, run)
