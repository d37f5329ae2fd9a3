"""
A gate for the real resident child: it waits after its first step until the test lets it go on.

Python imports a `sitecustomize` from PYTHONPATH, which every program of ours hands on to the child. So the gate works
for a worker, a server, a command and an engine alike: only the environment differs, and the child is the real one.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import subprocess
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LONGEST_S = 60

_SOURCE = Path(__file__).resolve().parents[2] / "src"
_JOB_MODULE = "wanworker.engines.resident.child._job"


class Gate:
    """Hold each job of the children that are started with `environment`, until it is opened."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        (folder / "sitecustomize.py").write_text(
            f"import sys\nsys.path.append({str(Path(__file__).parents[1])!r})\n"
            f"from fakes import gate\ngate.close_at({str(folder)!r})\n"
        )

    @property
    def environment(self) -> dict[str, str]:
        """What the child, or the program that starts it, needs in its environment."""
        return {"PYTHONPATH": os.pathsep.join((str(self.folder), str(_SOURCE)))}

    def open(self) -> None:
        """Let this job and every later one go on."""
        (self.folder / "go").touch()

    @contextlib.contextmanager
    def closed(self) -> Iterator[None]:
        """Hold the jobs that come meanwhile, unless one is let go earlier; it is open at the end."""
        for name in ("go", "reached"):
            (self.folder / name).unlink(missing_ok=True)
        try:
            yield
        finally:
            self.open()

    def wait_for_a_job(self, process: subprocess.Popen[Any], timeout_s: float = LONGEST_S) -> None:
        """Return once a job waits at the gate; *process* is what it was given to."""
        give_up = time.monotonic() + timeout_s
        while not (self.folder / "reached").exists():
            assert process.poll() is None, "it ended before its job reached the gate"
            assert time.monotonic() < give_up, "no job reached the gate"
            time.sleep(0.01)


def close_at(folder: str) -> None:
    """In the child alone, have each job wait for the file *folder*/go once it has told its first step."""
    if "wanworker.engines.resident.child" not in sys.orig_argv:
        return
    # The child imports this module with its first job, torch with it, and not before: neither may come sooner here.
    stand_in: Any = types.ModuleType(_JOB_MODULE)

    def render(loaded: object, request: object, outside: Any) -> object:
        sys.modules.pop(_JOB_MODULE, None)
        real = importlib.import_module(_JOB_MODULE)
        sys.modules[_JOB_MODULE] = stand_in
        return real.render(loaded, request, _Held(outside, Path(folder)))

    stand_in.render = render
    sys.modules[_JOB_MODULE] = stand_in


class _Held:
    """What a job may say and ask, with a wait after its first step. A job that is to stop waits no longer."""

    def __init__(self, outside: Any, folder: Path) -> None:
        self._outside, self._folder = outside, folder
        self.stage = outside.stage
        self.must_stop = outside.must_stop

    def step(self, stage: str, step: int, steps: int) -> None:
        self._outside.step(stage, step, steps)
        if (stage, step) == ("sampling", 1):
            (self._folder / "reached").touch()
            self._wait()

    def _wait(self) -> None:
        until = time.monotonic() + LONGEST_S
        while not (self._folder / "go").exists() and not self.must_stop():
            if time.monotonic() > until:
                raise TimeoutError(f"Nobody opened the gate {self._folder} in {LONGEST_S} s.")
            time.sleep(0.01)
