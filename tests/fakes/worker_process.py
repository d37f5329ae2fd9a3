"""A real worker: `python handler.py` in a process of its own, taking jobs from the control plane on loopback."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from fakes.runpod import RunPod

HANDLER = Path(__file__).resolve().parents[2] / "handler.py"


def worker_environment(folder: Path, more: Mapping[str, str]) -> dict[str, str]:
    """Return an environment with nothing of ours in it: outputs and home below *folder*, one thread, plus *more*."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LD_LIBRARY_PATH") if name in os.environ}
    return {
        **kept,
        "HOME": str(folder),
        "WAN_CKPT_DIR": str(folder / "models"),
        "WAN_OUT_DIR": str(folder / "outputs"),
        "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
        **more,
    }


class WorkerProcess:
    """
    Start a worker on entering and wait until it polls for a job; stop it by its pid on leaving.

    It works in *folder*, so several workers given one folder share a volume. *argv* is what python runs.
    """

    def __init__(
        self,
        plane: RunPod,
        folder: Path,
        *,
        worker_id: str = "worker-1",
        environment: Mapping[str, str] | None = None,
        argv: Sequence[str] = (str(HANDLER),),
    ) -> None:
        self.worker_id = worker_id
        self.log_path = folder / f"{worker_id}.log"
        self._plane = plane
        self._folder = folder
        self._argv = [sys.executable, *argv]
        self._environment = worker_environment(folder, {**plane.worker_environment(worker_id), **(environment or {})})
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> WorkerProcess:
        polls = len(self._plane.events_of("take_poll", worker_id=self.worker_id))
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self._argv,
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._plane.wait_until(
                lambda: (
                    len(self._plane.events_of("take_poll", worker_id=self.worker_id)) > polls
                    or self.returncode is not None
                ),
                what=f"{self.worker_id} to poll",
            )
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The worker's process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, None while it runs."""
        assert self._process is not None
        return self._process.poll()

    @property
    def log(self) -> str:
        """Everything that the worker has written so far."""
        return self.log_path.read_text(errors="replace")

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the worker alone, as the container's runtime does."""
        os.kill(self.pid, number)

    def wait(self, timeout_s: float = 30.0) -> int:
        """Return the exit code once the worker has ended."""
        assert self._process is not None
        return self._process.wait(timeout_s)

    def stop(self, patience_s: float = 20.0) -> None:
        """Let the worker end as RunPod does, then kill what is left; its ping process survives a SIGKILL of it."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(patience_s)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
