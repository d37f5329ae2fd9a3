"""A kernel is said to have run only when one did."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from wanworker.models.machine.gpu_kernel import GPU_PROGRAM, KernelRun, run_kernel, run_kernel_beside

GOOD_TORCH = """
__version__ = "2.9.0"
class version: cuda = "12.8"
class cuda:
    device_count = staticmethod(lambda: 2)
class Ones:
    def __matmul__(self, other): return self
    def sum(self): return self
    def item(self): return 64**3
def ones(*size, device): return Ones()
"""


def ran(program: str, *, timeout_s: float = 30) -> KernelRun:
    """Run *program* in both ways, which must say the same."""
    argv = [sys.executable, "-c", program]
    blocking = run_kernel(argv, {}, timeout_s=timeout_s)
    beside = asyncio.run(run_kernel_beside(argv, {}, timeout_s=timeout_s))
    assert blocking == beside
    return blocking


def with_torch(tmp_path: Path, torch: str) -> str:
    (tmp_path / "torch.py").write_text(torch)
    return f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{GPU_PROGRAM}"


def test_a_kernel_that_ran_is_said_with_its_torch(tmp_path: Path) -> None:
    result = ran(with_torch(tmp_path, GOOD_TORCH))

    assert KernelRun(ran=True, failed=False, text="a kernel ran on 2 GPU, torch 2.9.0, CUDA 12.8") == result


def test_a_torch_without_cuda_is_no_failure_and_ran_nothing(tmp_path: Path) -> None:
    result = ran(with_torch(tmp_path, "__version__ = '2.9.0+cpu'\nclass version: cuda = None"))

    assert KernelRun(False, False, "no kernel ran: torch 2.9.0+cpu was built without CUDA") == result


def test_an_interpreter_without_torch_is_no_failure_and_ran_nothing() -> None:
    result = ran(f"import sys; sys.path[:] = [p for p in sys.path if 'site-packages' not in p]\n{GPU_PROGRAM}")

    assert KernelRun(False, False, "no kernel ran: torch is not installed") == result


@pytest.mark.parametrize(
    ("program", "text"),
    [
        (
            "import sys; sys.exit('CUDA error: no kernel image is available')",
            "exit code 1: CUDA error: no kernel image",
        ),
        ("import os; os.abort()", "exit code -6: it wrote no message"),
    ],
)
def test_a_kernel_that_failed_says_its_last_line(program: str, text: str) -> None:
    result = ran(program)

    assert result.failed
    assert result.text.startswith(text)


def test_a_gpu_that_hangs_and_an_interpreter_that_is_not_there_are_failures(tmp_path: Path) -> None:
    hanging = ran("import threading; threading.Event().wait()", timeout_s=0.2)
    missing = run_kernel([str(tmp_path / "python")], {}, timeout_s=1)

    assert KernelRun(False, True, "no answer within 0.2 s") == hanging
    assert (True, f"{tmp_path}/python: No such file or directory") == (missing.failed, missing.text)


async def test_an_interpreter_that_is_not_there_is_a_failure_beside_the_loop_too(tmp_path: Path) -> None:
    missing = await run_kernel_beside([str(tmp_path / "python")], {}, timeout_s=1)

    assert missing.failed
    assert f"{tmp_path}/python" in missing.text


async def test_a_kernel_that_nobody_waits_for_any_more_is_gone(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    code = f"import os, threading; open({str(note)!r}, 'w').write(str(os.getpid())); threading.Event().wait()"
    running = asyncio.create_task(run_kernel_beside([sys.executable, "-c", code], {}, timeout_s=30))
    async with asyncio.timeout(20):
        while not (note.exists() and note.read_text()):
            await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)
