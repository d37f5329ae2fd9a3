"""List the Python interpreters that use the GPU, and check that a kernel runs in each."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from wanworker.models.machine.gpu_kernel import GPU_PROGRAM, KernelRun, run_kernel, run_kernel_beside
from wanworker.settings import Settings, child_environment

#: Importing torch from a cold disk takes up to a minute, its first kernel some seconds.
GPU_TIMEOUT_S = 180.0


def interpreters(settings: Settings) -> dict[str, tuple[str, ...]]:
    """Return each Python that computes on a GPU, with the engines that use it."""
    from wanworker.comfyui.server.launch import interpreter_of  # a slow import, kept out of the start

    pairs = [(sys.executable, "diffusers")]
    if settings.comfyui_root and not settings.comfyui_url:
        pairs.append((str(settings.comfyui_python or interpreter_of(settings.comfyui_root)), "comfyui"))
    if (settings.wan_home / "generate.py").is_file():
        pairs.append((str(settings.wan_interpreter), "wan_cli"))
    found: dict[str, tuple[str, ...]] = {}
    for python, engine in pairs:
        found[python] = (*found.get(python, ()), engine)
    return found


def kernel_in(python: str) -> KernelRun:
    """Run a kernel in *python*, in a child. Blocks for seconds, never raises."""
    return run_kernel([python, "-c", GPU_PROGRAM], child_environment(), timeout_s=GPU_TIMEOUT_S)


async def kernel_beside(python: str) -> KernelRun:
    """Do the same without blocking the event loop. It ends if its caller is cancelled."""
    return await run_kernel_beside([python, "-c", GPU_PROGRAM], child_environment(), timeout_s=GPU_TIMEOUT_S)


def without_kernel(settings: Settings, kernels: Mapping[str, KernelRun]) -> dict[str, tuple[str, ...]]:
    """Return a line for each engine in whose Python a kernel failed. Pure."""
    return {
        engine: (f"no kernel runs in {python}: {kernels[python].text}",)
        for python, engines in interpreters(settings).items()
        for engine in engines
        if python in kernels and kernels[python].failed
    }
