"""Turn upstream's exit codes and last lines into errors that say what to do. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wanworker.errors import DiskFull, EngineError, EngineFailed, EngineUnavailable, OutOfMemory
from wanworker.process import Exit


@dataclass(frozen=True, slots=True)
class Context:
    """Describe a failed run: the program's name, its interpreter, its stage, and what it logged about a failure."""

    program: str
    python: str
    stage: str
    told: str = ""


#: Modules and their packages, where the names differ.
_PACKAGES = {
    "cv2": "opencv-python-headless", "PIL": "pillow", "sam2": "git+https://github.com/facebookresearch/sam2",
    "flash_attn": "flash-attn --no-build-isolation", "skimage": "scikit-image", "yaml": "pyyaml",
}  # fmt: skip

_FLASH_ATTN = "flash-attn --no-build-isolation"

_Error = Callable[[Context, str], EngineError]


def _out_of_gpu_memory(where: Context, _: str) -> EngineError:
    return OutOfMemory(f"The GPU ran out of memory while {where.program} was {where.stage}.")


def _out_of_host_memory(where: Context, _: str) -> EngineError:
    return OutOfMemory(
        f"{where.program} ran out of the machine's memory (RAM) while {where.stage}, or was killed for it.",
        hint="An A14B task loads two transformers into RAM, about 100 GB at the peak, ti2v-5B about 35 GB: "
        "take a machine with more memory.",
    )


_INSTALL = "Install it into the environment that WAN_PYTHON names, or ask for another engine."
_GPU = "Run it where a GPU and its driver work, or ask for another engine."


def _module_missing(where: Context, line: str) -> EngineError:
    match = re.search(r"No module named '([\w.]+)'", line)
    if match is None:
        return EngineUnavailable(
            f"{where.program} cannot import what it needs: {line}. Its Python is {where.python}.", hint=_INSTALL
        )
    module = match[1].partition(".")[0]
    command = f"{where.python} -m pip install {_PACKAGES.get(module, module)}"
    return EngineUnavailable(
        f"{where.program} needs the Python module {module!r}. Install it with: {command}", hint=_INSTALL
    )


def _flash_attn_missing(where: Context, _: str) -> EngineError:
    command = f"{where.python} -m pip install {_FLASH_ATTN}"
    return EngineUnavailable(
        f"{where.program} needs flash-attn, which is not installed. Install it with: {command}", hint=_INSTALL
    )


def _no_gpu(where: Context, line: str) -> EngineError:
    return EngineUnavailable(f"{where.program} cannot use the GPU while {where.stage}: {line}", hint=_GPU)


def _weights_broken(where: Context, line: str) -> EngineError:
    return EngineUnavailable(f"{where.program} cannot read the weights: {line}", hint="Fetch the weights again.")


def _disk_full(where: Context, line: str) -> EngineError:
    state = "read-only" if line.startswith("Read-only") else "full"
    return DiskFull(f"The disk is {state}: {where.program} could not write while {where.stage}.")


#: A pattern in the program's stderr -> the error. The first match counts, so the order matters: running out of memory
#: also breaks NCCL, and a missing flash-attn is an assertion without a message.
_TABLE: Sequence[tuple[str, _Error]] = (
    (r"OutOfMemoryError|CUDA out of memory|CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED", _out_of_gpu_memory),
    (r"(?m)^MemoryError|DefaultCPUAllocator: can't allocate|Cannot allocate memory", _out_of_host_memory),
    (r"exitcode\s*: -9\b", _out_of_host_memory),
    (r"No space left on device|Disk quota exceeded|Read-only file system", _disk_full),
    (r"assert FLASH_ATTN_2_AVAILABLE", _flash_attn_missing),
    (r"(?m)^.*(ModuleNotFoundError|ImportError): .*", _module_missing),
    (r"(?m)^.*(SafetensorError|PytorchStreamReader failed|Error no file named|UnpicklingError).*", _weights_broken),
    (r"(?m)^.*(No CUDA GPUs are available|no NVIDIA driver|not compiled with CUDA|no kernel image is available"
     r"|CUDA driver version is insufficient|invalid device ordinal|NCCL|DistBackendError|nccl\w*Error).*", _no_gpu),
)  # fmt: skip

_EXCEPTION = re.compile(r"^(?:[\w.]+\.)?(\w*(?:Error|Exception|Interrupt|Exit|Failure)\b.*)")
_USAGE = re.compile(r"^\S+: error: (.*)")
_RANK = re.compile(r"^\[rank\d+\]:\s?")
_KILLED = (-9, 137)
_USAGE_CODE = 2
_SHOWN_CHARS = 400


def failure(ended: Exit, where: Context) -> EngineError:
    """Return the error for a program that ended with a code other than 0. Its message has no traceback."""
    stderr = [_RANK.sub("", line) for line in ended.stderr_tail]
    text = "\n".join(stderr)
    if ended.code in _KILLED:
        return _out_of_host_memory(where, "")
    for pattern, error in _TABLE:
        if match := re.search(pattern, text):
            return error(where, match[0].strip()[:_SHOWN_CHARS])
    if ended.code == _USAGE_CODE and (usage := _last(_USAGE, stderr)):
        return EngineFailed(f"{where.program} refused its arguments (another version of Wan2.2?): {usage}")
    ending = f"was killed by signal {-ended.code}" if ended.code < 0 else f"ended with code {ended.code}"
    return EngineFailed(f"{where.program} {ending} while {where.stage}: {_last_words(ended, stderr)}{where.told}")


def _last(pattern: re.Pattern[str], lines: Sequence[str]) -> str:
    found = [match[1].strip() for line in lines if (match := pattern.match(line))]
    return found[-1][:_SHOWN_CHARS] if found else ""


def _last_words(ended: Exit, stderr: Sequence[str]) -> str:
    """Return the last exception, or the last lines that are not part of a traceback."""
    errors = [line for line in stderr if "ChildFailedError" not in line]  # torchrun's, about the exception before
    if exception := _last(_EXCEPTION, errors):
        return exception
    lines = [line for line in stderr or ended.tail if not line.startswith((" ", "Traceback "))]
    return " | ".join(lines[-3:])[-_SHOWN_CHARS:] or "it wrote nothing."
