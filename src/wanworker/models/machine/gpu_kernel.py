"""Run a kernel on the GPU in a child of the interpreter that is asked about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wanworker import process
from wanworker.clocks.awake import Silence
from wanworker.errors import EngineUnavailable

#: Multiplies matrices on every GPU and prints what ran. If torch is missing or was built without CUDA, nothing is known
#: about the GPU: engines with an environment of their own may still use it.
GPU_PROGRAM = """
import importlib.util
import sys
if importlib.util.find_spec("torch") is None:
    print("no kernel ran: torch is not installed")
    sys.exit(0)
import torch
version = getattr(torch, "__version__", "?")
if torch.version.cuda is None:
    print(f"no kernel ran: torch {version} was built without CUDA")
    sys.exit(0)
if torch.cuda.device_count() == 0:
    sys.exit("torch finds no GPU; its CUDA may be newer than the driver")
for index in range(torch.cuda.device_count()):
    ones = torch.ones(64, 64, device=f"cuda:{index}")
    if (ones @ ones).sum().item() != 64**3:
        sys.exit(f"GPU {index} multiplies wrongly")
print(f"a kernel ran on {torch.cuda.device_count()} GPU, torch {version}, CUDA {torch.version.cuda}")
"""


@dataclass(frozen=True, slots=True)
class KernelRun:
    """Hold the result: `ran` if a kernel ran, `failed` if it should have run but did not, and a `text`."""

    ran: bool
    failed: bool
    text: str


def run_kernel(argv: Sequence[str], env: Mapping[str, str], *, timeout_s: float) -> KernelRun:
    """
    Run *argv*, an interpreter with GPU_PROGRAM, as a child, whose CUDA context ends with it. Blocks, never raises.
    """
    try:
        ended = process.ask(argv, env=env, timeout_s=timeout_s)
    except TimeoutError:
        return _silent(timeout_s)
    except EngineUnavailable as error:
        return KernelRun(ran=False, failed=True, text=str(error))
    return _ended(ended.code, _last(ended.stdout), _last(ended.stderr))


async def run_kernel_beside(argv: Sequence[str], env: Mapping[str, str], *, timeout_s: float) -> KernelRun:
    """
    Do the same without blocking the event loop. On cancellation, the child is gone before CancelledError is raised.
    """
    last = {"stdout": "", "stderr": ""}

    def hear(stream: str, line: str) -> None:
        last[stream] = line.strip() or last[stream]

    try:
        async with Silence(timeout_s):
            ended = await process.run(argv, cwd=Path.cwd(), env=env, on_line=hear)
    except TimeoutError:
        return _silent(timeout_s)
    except EngineUnavailable as error:
        return KernelRun(ran=False, failed=True, text=str(error))
    return _ended(ended.code, last["stdout"], last["stderr"])


def _silent(timeout_s: float) -> KernelRun:
    return KernelRun(ran=False, failed=True, text=f"no answer within {timeout_s:g} s")


def _ended(code: int, last_output: str, last_error: str) -> KernelRun:
    if code != 0:
        return KernelRun(ran=False, failed=True, text=f"exit code {code}: {last_error or 'it wrote no message'}")
    return KernelRun(ran=last_output.startswith("a kernel ran"), failed=False, text=last_output)


def _last(lines: Sequence[str]) -> str:
    return lines[-1] if lines else ""
