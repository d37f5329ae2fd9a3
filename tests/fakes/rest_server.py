"""A real server process of the REST door, rendering with the miniature into a folder of its own."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx

from fakes.ports import held_port
from wanworker.settings import child_environment

_START_S = 60
_END_S = 30
_LOOK_S = 0.2


@contextlib.contextmanager
def serving(folder: Path, variables: Mapping[str, str], *, answers: str = "ready") -> Iterator[str]:
    """
    Run `python -m wanworker.rest` with *variables* in its environment and give its address once it can render.

    A server without a GPU is never ready for Wan itself; such a one *answers* "ping".
    """
    port = held_port()
    environment = {**child_environment(), "OMP_NUM_THREADS": "1", "WAN_ENGINE": "mini", "WAN_OUT_DIR": str(folder)}
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "wanworker.rest", "--port", str(port)],
            env={**environment, **variables},
            cwd=folder,
            stderr=log,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_until_ready(f"{address}/{answers}", server, folder / "server.log")
        yield address
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(_END_S)


def _wait_until_ready(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _START_S
    while time.monotonic() < end and server.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url, trust_env=False).is_success:
                return
        time.sleep(_LOOK_S)
    raise AssertionError(f"The server was not ready within {_START_S} s:\n{log.read_text()[-2000:]}")
