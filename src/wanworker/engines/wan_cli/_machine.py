"""Check that the machine can run generate.py: cards, their memory, and the packages of its interpreter."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import wanworker
from wanworker import process
from wanworker.errors import EngineUnavailable
from wanworker.models.machine.hardware import Gpu

#: The least memory of all cards together, in MiB. A14B: 41.3 GB at 480p with offloading, upstream's comp_effic table
#: (720p takes 59.8). 5B: README, a 24 GB card. s2v: README, 80 GB; animate has no figure and a larger model.
_LEAST_MIB: Mapping[str, int] = {
    "t2v-A14B": 43_000,
    "i2v-A14B": 43_000,
    "ti2v-5B": 22_500,
    "s2v-14B": 78_000,
    "animate-14B": 78_000,
}

#: The least memory of the host, in MiB, whatever the flags: A14B's two experts are loaded as float32 (114 GB) or, cast
#: one after the other, peak at 86 GB beside the text encoder's 11 (wan.md 1.8).
_LEAST_HOST_MIB: Mapping[str, int] = {"t2v-A14B": 95_000, "i2v-A14B": 95_000}

#: What `import wan` imports, whichever the task (wan/__init__.py and below at 42bf4cf). requirements.txt has not all.
_MODULES = (
    "torch", "torchvision", "cv2", "dashscope", "decord", "diffusers", "easydict", "einops", "ftfy", "imageio",
    "librosa", "peft", "PIL", "regex", "tqdm", "transformers",
)  # fmt: skip
#: One of these is needed (wan/modules/attention.py). Without one, the run fails only after the whole load.
_ATTENTION = ("flash_attn", "flash_attn_interface")

_ASK = (
    "import importlib.util, json, sys; "
    "print(json.dumps([name for name in sys.argv[1:] if importlib.util.find_spec(name) is None]))"
)
_ASK_TIMEOUT_S = 30.0


def gpu_lacks(task: str, gpus: Sequence[Gpu]) -> tuple[str, ...]:
    """Return a line for what the cards lack for *task*, or nothing."""
    if not gpus:
        return ("no NVIDIA GPU",)
    there, least = sum(gpu.memory_mib for gpu in gpus), _LEAST_MIB[task]
    if there >= least:
        return ()
    return (f"{task} needs about {least / 1024:.0f} GiB of GPU memory; {there / 1024:.0f} GiB are here",)


def host_lacks(task: str, available_memory_mib: int | None) -> tuple[str, ...]:
    """Say in a line that *task* needs more memory of the host than is free; nothing where that is unknown."""
    least = _LEAST_HOST_MIB.get(task, 0)
    if available_memory_mib is None or available_memory_mib >= least:
        return ()
    free = f"{available_memory_mib / 1024:.0f} GiB are free"
    return (f"{task} needs about {least / 1024:.0f} GiB of main memory to load; {free}",)


def python_lacks(
    python: str, home: Path, env: Mapping[str, str], *, timeout_s: float = _ASK_TIMEOUT_S
) -> tuple[str, ...]:
    """Ask *python* which packages of upstream it lacks, without importing any. Takes about 0.1 s."""
    argv = [python, "-c", _ASK, *_MODULES, *_ATTENTION]
    try:
        answer = process.ask(argv, cwd=home, env=env, timeout_s=timeout_s)
        absent = set(json.loads("".join(answer.stdout)))
    except (TimeoutError, ValueError, EngineUnavailable) as error:
        return (f"{python} does not answer: {type(error).__name__}",)
    names = [name for name in _MODULES if name in absent]
    if absent.issuperset(_ATTENTION):
        names.append("flash_attn")
    return (f"not installed in {python}: {', '.join(names)}",) if names else ()


def found_program(program: str, env: Mapping[str, str]) -> bool:
    """Say whether *program*, a path or a name on PATH, can be run."""
    return shutil.which(program, path=env.get("PATH")) is not None


def upstream_environment(env: Mapping[str, str]) -> dict[str, str]:
    """
    Return *env* for upstream's interpreter, without our own packages.

    PYTHONPATH puts ours first for our own child processes, and they include other versions of diffusers and
    transformers than upstream pins. UTF-8 mode lets any prompt pass, whatever the locale.
    """
    ours = str(Path(wanworker.__file__).resolve().parent.parent)
    paths = [path for path in env.get("PYTHONPATH", "").split(os.pathsep) if path and path != ours]
    kept = {name: value for name, value in env.items() if name != "PYTHONPATH"}
    return {
        **kept,
        **({"PYTHONPATH": os.pathsep.join(paths)} if paths else {}),
        "PYTHONUNBUFFERED": "1",
        "PYTHONUTF8": "1",
    }
