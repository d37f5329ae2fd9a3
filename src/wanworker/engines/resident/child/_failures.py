"""Translate the exceptions of torch and diffusers into the worker's errors."""

from __future__ import annotations

from wanworker.engines.resident.protocol import Failed
from wanworker.errors import EngineFailed, OutOfMemory, WorkerError
from wanworker.media.new_file import disk_full

#: What allocators say: CUDA, cuBLAS and cuDNN, and torch's own on the CPU.
_MEMORY_WORDS = (
    "out of memory",
    "can't allocate memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


#: What a CUDA context says that takes no more work: from then on each call of this process fails the same way.
_STICKY_WORDS = (
    "CUDA error",
    "CUDNN_STATUS_EXECUTION_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR",
    "CUBLAS_STATUS_EXECUTION_FAILED",
    "CUBLAS_STATUS_INTERNAL_ERROR",
)


class StoppedByParent(Exception):
    """The parent asked for this job's end; nothing of it is kept."""


def failure_of(error: Exception, job: int) -> Failed:
    """Return the event that tells of *error*: which of our errors it is, and its words on one line."""
    if isinstance(error, WorkerError):
        return Failed(job, error.code, str(error), error.hint)
    words = f"{type(error).__name__}: {' '.join(str(error).split())[:600]}"
    if is_out_of_memory(error):
        return Failed(job, OutOfMemory.code, f"Out of memory while rendering. {words}")
    if isinstance(error, OSError) and (full := disk_full(error, "the video")):
        return Failed(job, full.code, f"{full} {words}")
    return Failed(job, EngineFailed.code, f"The pipeline failed. {words}")


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether *error* is a failed allocation, on the GPU or on the host."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _MEMORY_WORDS)


def is_sticky(error: BaseException) -> bool:
    """
    Say whether *error* may have broken the CUDA context: an illegal access, a launch that failed, a lost card.

    Only a new process has a new context. Running out of memory breaks none.
    """
    if is_out_of_memory(error):
        return False
    if type(error).__name__ == "AcceleratorError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _STICKY_WORDS)
