"""The real child as a process: it speaks first of all the protocol, and it never outlives its parent."""

from __future__ import annotations

import contextlib
import gc
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fakes.gate import Gate
from wanworker.engines.mini import request_for
from wanworker.engines.resident import protocol
from wanworker.engines.resident.child.__main__ import loader
from wanworker.engines.resident.protocol import Event, Failed, Load, Model, Ready, Step
from wanworker.errors import EngineUnavailable
from wanworker.models.miniature.weights import miniature
from wanworker.settings import child_environment
from wanworker.spec import RenderSpec, Size

SPEC = RenderSpec(
    task="t2v-A14B", prompt="a red star", size=Size(64, 64), size_given=True, fps=16, fps_given=True, seed=1, steps=2
)
FOLDER = str(miniature().folder_of(SPEC.task))
CHILD = (sys.executable, "-m", "wanworker.engines.resident.child")

#: A parent that starts a child on its own stdin, tells its number, and does nothing more.
PARENT = """
import subprocess, sys, time
child = subprocess.Popen(sys.argv[1:])
print(child.pid, file=sys.stderr, flush=True)
time.sleep(600)
"""


@contextlib.contextmanager
def started(*argv: str, gate: Gate | None = None) -> Iterator[subprocess.Popen[bytes]]:
    hidden = {"CUDA_VISIBLE_DEVICES": ""}  # a machine with a GPU gives the same answers
    environment = {**child_environment(), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **hidden}
    environment |= gate.environment if gate else {}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(argv, env=environment, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def thawed() -> Iterator[None]:
    """Have this process look through everything for garbage, before and again afterwards."""
    gc.unfreeze()
    yield
    gc.unfreeze()


def test_what_is_imported_is_never_looked_through_for_garbage(thawed: None) -> None:
    loader.__wrapped__()

    assert gc.isenabled()
    assert gc.get_freeze_count() > 100_000


def send(process: subprocess.Popen[bytes], command: protocol.Command) -> None:
    assert process.stdin is not None
    process.stdin.write(protocol.encode(command))
    process.stdin.flush()


def event(process: subprocess.Popen[bytes]) -> Event:
    assert process.stdout is not None
    return protocol.decode_event(process.stdout.readline())


def wait_for(process: subprocess.Popen[bytes], kind: type[Event]) -> None:
    """Return at the first event of *kind*. The end of the stream, or a failure, is told instead of waited out."""
    seen: Event | None = None
    while not isinstance(seen, kind):
        seen = event(process)
        assert not isinstance(seen, Failed), seen


def ends_within(limit_s: float, has_ended: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if has_ended():
            return True
        os.sched_yield()
    return False


@pytest.mark.slow
def test_the_end_of_its_stream_ends_it_in_mid_job(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with started(*CHILD, gate=Gate(tmp_path / "gate")) as process:
        send(process, Load(Model(FOLDER, "cpu")))
        wait_for(process, Ready)
        send(process, request_for(SPEC, tmp_path / "out" / "out.mp4", 17))
        wait_for(process, Step)
        assert process.stdin is not None
        process.stdin.close()

        assert 0 == process.wait()
    assert [] == list((tmp_path / "out").iterdir())


def test_it_dies_with_a_parent_that_was_killed_though_its_stream_stays_open(tmp_path: Path) -> None:
    with started(sys.executable, "-c", PARENT, *CHILD) as parent:
        assert parent.stderr is not None
        pid = int(parent.stderr.readline())
        send(parent, request_for(SPEC, tmp_path / "out.mp4", 17))
        failed = event(parent)
        parent.kill()

        assert ends_within(30, lambda: not Path(f"/proc/{pid}").exists() or _is_zombie(pid))
    assert isinstance(failed, Failed)
    assert "No model is loaded." == failed.message


def test_a_command_that_it_does_not_understand_ends_it() -> None:
    with started(*CHILD) as process:
        assert process.stdin is not None
        process.stdin.write(b"hello\n")
        process.stdin.flush()

        assert 0 == process.wait(timeout=20)


def test_a_gpu_that_torch_cannot_use_is_refused(monkeypatch: pytest.MonkeyPatch, thawed: None) -> None:
    load = loader.__wrapped__()
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)

    with pytest.raises(EngineUnavailable, match="GPU"):
        load(Model(FOLDER, "cuda"), lambda _done, _size: None, None)


@pytest.mark.slow
def test_a_gpu_that_torch_cannot_use_is_said() -> None:
    with started(*CHILD) as process:
        send(process, Load(Model(FOLDER, "cuda")))
        failed = event(process)

    assert isinstance(failed, Failed)
    assert "ENGINE_UNAVAILABLE" == failed.code
    assert not failed.usable


def _is_zombie(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    return True
