"""Foreign exceptions, told as the worker's own."""

from __future__ import annotations

import errno

import pytest

from wanworker.engines.resident.child._failures import failure_of, is_sticky
from wanworker.errors import DiskFull, EngineFailed, InvalidRequest, OutOfMemory


class OutOfMemoryError(RuntimeError):
    """Named as torch names its own."""


@pytest.mark.parametrize(
    "error",
    [
        OutOfMemoryError("CUDA out of memory. Tried to allocate 9.6 GiB"),
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
    ],
)
def test_a_failed_allocation_is_out_of_memory(error: Exception) -> None:
    assert OutOfMemory.code == failure_of(error, 1).code


def test_any_other_error_is_the_engines_failure_with_its_name_and_words_on_one_line() -> None:
    failed = failure_of(RuntimeError("shapes\n do not match"), 7)

    assert (7, EngineFailed.code) == (failed.job, failed.code)
    assert "The pipeline failed. RuntimeError: shapes do not match" == failed.message


@pytest.mark.parametrize("error_number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_full_disk_has_its_own_code(error_number: int) -> None:
    assert DiskFull.code == failure_of(OSError(error_number, "words"), 1).code


def test_our_own_errors_keep_their_words_and_hints() -> None:
    failed = failure_of(InvalidRequest("too wide", hint="narrower"), 1)

    assert (InvalidRequest.code, "too wide", "narrower") == (failed.code, failed.message, failed.hint)


class AcceleratorError(RuntimeError):
    """Named as torch names its own."""


@pytest.mark.parametrize(
    ("error", "breaks"),
    [
        (AcceleratorError("CUDA error: an illegal memory access was encountered"), True),
        (RuntimeError("CUDA error: unspecified launch failure"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), True),
        (AcceleratorError("CUDA error: out of memory"), False),
        (OutOfMemoryError("CUDA out of memory."), False),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"), False),
        (RuntimeError("shapes do not match"), False),
        (InvalidRequest("too wide"), False),
    ],
)
def test_only_a_broken_context_is_for_good(error: Exception, breaks: bool) -> None:
    assert breaks is is_sticky(error)
