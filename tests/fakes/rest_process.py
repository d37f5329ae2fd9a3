"""A real REST server: `python -m wanworker.rest` with the miniature, in a process of its own."""

from __future__ import annotations

import contextlib
import resource
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from fakes.ports import held_port
from fakes.worker_process import worker_environment

SOURCE = Path(__file__).resolve().parents[2] / "src"
PATIENCE_S = 60


class RestProcess:
    """Start a server whose files lie in *folder*; *files* is how many it may have open, *environment* its settings."""

    def __init__(self, folder: Path, *, files: int | None = None, **environment: str) -> None:
        self.port = held_port()
        self._files = files
        self._folder = folder
        self._environment = {
            "PYTHONPATH": str(SOURCE),
            **worker_environment(folder, environment),
            "REST_PORT": str(self.port),
        }
        self.log_path = folder / "rest.log"

    def __enter__(self) -> RestProcess:
        (self._folder / "outputs").mkdir(exist_ok=True)
        argv = [sys.executable, "-m", "wanworker.rest"]
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                argv, env=self._environment, cwd=self._folder, stderr=log, stdout=log, start_new_session=True
            )
        if self._files is not None:
            resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, (self._files, self._files))
        give_up = time.monotonic() + PATIENCE_S
        while self.ping() != 200:
            assert self.process.poll() is None, self.log_path.read_text()
            assert time.monotonic() < give_up
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> float:
        """Send SIGTERM; return the seconds until it has ended."""
        started = time.monotonic()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                raise
        return time.monotonic() - started

    def ping(self) -> int:
        """Return the status of /ping over a connection of its own; 0 where none is made."""
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ping", timeout=5) as r:
            return int(r.status)
        return 0

    @contextlib.contextmanager
    def connections(self, count: int, sent: bytes) -> Iterator[list[socket.socket]]:
        """Hold *count* connections that have sent *sent*."""
        with contextlib.ExitStack() as stack:
            held = []
            for _ in range(count):
                client = stack.enter_context(socket.create_connection(("127.0.0.1", self.port), timeout=10))
                with contextlib.suppress(ConnectionError):
                    client.sendall(sent)
                held.append(client)
            yield held

    @property
    def memory_bytes(self) -> int:
        """The resident memory of the process."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(text.partition("VmRSS:")[2].split()[0]) * 1024
