"""
A gate for the real resident child: it waits there, or hangs, until the test lets it go on.

Python imports a `sitecustomize` from PYTHONPATH, which every program of ours hands on to the child. So the gate works
for a worker, a server, a command and an engine alike: only the environment differs, and the child is the real one.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
import itertools
import os
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

LONGEST_S = 60

_SOURCE = Path(__file__).resolve().parents[2] / "src"
_JOB_MODULE = "wanworker.engines.resident.child._job"
_LOADING_MODULE = "wanworker.engines.resident.child._loading"


class Gate:
    """
    Hold each job of the children that are started with `environment`, until it is opened.

    *at* is where: `text` (as that stage begins), `sampling` (after the first step), `decoding` (after the first latent
    frame), `encoding` (as that stage begins), `answering` (the file is written, and nothing is said yet) or
    `loading` (a child's first load). *deed* is what the child does there: `wait`, as a step that heeds a stop; `deaf`,
    as one that heeds nothing; `lock`, as native code that keeps Python's lock for ever; `print`, as a library that
    writes a million lines and binary to both of its outputs, and then waits.
    """

    def __init__(self, folder: Path, *, at: str = "sampling", deed: str = "wait") -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        (folder / "sitecustomize.py").write_text(
            f"import sys\nsys.path.append({str(Path(__file__).parents[1])!r})\n"
            f"from fakes import gate\ngate.close_at({str(folder)!r}, {at!r}, {deed!r})\n"
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

    @property
    def is_reached(self) -> bool:
        """Say whether a job is at the gate, or has been."""
        return (self.folder / "reached").exists()

    def wait_for_a_job(self, process: subprocess.Popen[Any], timeout_s: float = LONGEST_S) -> None:
        """Return once a job waits at the gate; *process* is what it was given to."""
        give_up = time.monotonic() + timeout_s
        while not (self.folder / "reached").exists():
            assert process.poll() is None, "it ended before its job reached the gate"
            assert time.monotonic() < give_up, "no job reached the gate"
            time.sleep(0.01)


def close_at(folder: str, at: str, deed: str) -> None:
    """In the child alone, do *deed* at the place *at*, unless there is the file *folder*/go."""
    if "wanworker.engines.resident.child" not in sys.orig_argv:
        return
    barrier = _Barrier(Path(folder), deed)
    # The child imports these modules with its first command, torch with them, and not before: none may come sooner.
    if at == "loading":
        _stand_in(_LOADING_MODULE, "load", lambda load, *given: (barrier.reach(), load(*given))[1], once=True)
    elif at == "answering":
        _stand_in(_JOB_MODULE, "render", lambda render, *given: (render(*given), barrier.reach())[0])
    else:
        _stand_in(_JOB_MODULE, "render", lambda render, *given: render(*given[:2], _Held(given[2], barrier, at)))


def leak_with_each_job(size_mib: int) -> None:
    """Have this child keep *size_mib* more of memory with each job."""
    kept: list[bytes] = []

    def rendered(render: Callable[..., Any], *given: Any) -> Any:
        kept.extend(b"x" * 1024**2 for _ in range(size_mib))
        return render(*given)

    _stand_in(_JOB_MODULE, "render", rendered)


def _stand_in(module: str, name: str, instead: Callable[..., Any], *, once: bool = False) -> None:
    """
    Have the function *name* of *module* be called through *instead*, with *once* at its first call only.

    The real module is imported when that function is called, or when something else of it is wanted.
    """
    stand_in: Any = types.ModuleType(module)
    package, _, leaf = module.rpartition(".")
    calls = itertools.count()

    @functools.cache
    def real() -> Any:
        sys.modules.pop(module, None)
        found = importlib.import_module(module)
        sys.modules[module] = stand_in
        setattr(sys.modules[package], leaf, stand_in)
        return found

    def called(*given: Any) -> Any:
        function = getattr(real(), name)
        return function(*given) if once and next(calls) else instead(function, *given)

    def other(wanted: str) -> Any:
        if wanted.startswith("__"):
            raise AttributeError(wanted)
        return getattr(real(), wanted)

    setattr(stand_in, name, called)
    stand_in.__getattr__ = other
    sys.modules[module] = stand_in


class _Barrier:
    """What the child does at the gate."""

    def __init__(self, folder: Path, deed: str) -> None:
        self._folder, self._deed = folder, deed

    def reach(self, must_stop: Callable[[], bool] = lambda: False) -> None:
        """Say that the gate is reached, and do the deed."""
        if self._is_open():
            return
        if self._deed == "print":
            _print_without_end()
        (self._folder / "reached").touch()
        if self._deed == "lock":
            ctypes.PyDLL(None).pause()
        self._wait(must_stop if self._deed == "wait" else lambda: False)

    def _is_open(self) -> bool:
        return (self._folder / "go").exists()

    def _wait(self, must_stop: Callable[[], bool]) -> None:
        until = time.monotonic() + LONGEST_S
        while not self._is_open() and not must_stop():
            if time.monotonic() > until:
                raise TimeoutError(f"Nobody opened the gate {self._folder} in {LONGEST_S} s.")
            time.sleep(0.01)


def _print_without_end() -> None:
    for output in (1, 2):
        with open(output, "wb", closefd=False) as file:
            for _ in range(1000):
                file.write(b"Loading: \x1b[A\n" * 1000)
            file.write(bytes(range(256)) * 20_000 + b'\n{"type": "done", "job": 1, "timings": {}}\n' + b"no line end")


class _Held:
    """What a job may say and ask, with the gate in one of its stages. A job that is to stop waits no longer."""

    def __init__(self, outside: Any, barrier: _Barrier, at: str) -> None:
        self._outside, self._barrier, self._at = outside, barrier, at
        self.must_stop = outside.must_stop

    def stage(self, name: str) -> None:
        self._outside.stage(name)
        if name == self._at and name in {"text", "encoding"}:
            self._barrier.reach(self.must_stop)

    def step(self, stage: str, step: int, steps: int) -> None:
        self._outside.step(stage, step, steps)
        if (stage, step) == (self._at, 1) and stage in {"sampling", "decoding"}:
            self._barrier.reach(self.must_stop)


def put_whole(path: Path, text: str) -> None:
    """Write *text* so that who looks for *path* never reads half of it."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text)
    part.replace(path)
