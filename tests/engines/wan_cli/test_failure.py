"""Real last lines of failures, as torch, torchrun and argparse write them."""

from __future__ import annotations

import pytest

from wanworker.engines.wan_cli._failure import Context, failure
from wanworker.errors import DiskFull, EngineError, EngineFailed, EngineUnavailable, OutOfMemory
from wanworker.process import Exit

WHERE = Context("generate.py", "/venv/bin/python", "sampling")

TRACEBACK = (
    "Traceback (most recent call last):",
    '  File "/workspace/Wan2.2/generate.py", line 575, in <module>',
    "    generate(args)",
)


def ended(*stderr: str, code: int = 1) -> Exit:
    return Exit(code, ("[now] INFO: Input prompt: CUDA out of memory, No module named 'x'", *stderr), stderr)


@pytest.mark.parametrize(
    ("exit_", "error", "says"),
    [
        (ended(*TRACEBACK, "torch.OutOfMemoryError: CUDA out of memory. Tried"), OutOfMemory, "GPU ran out of memory"),
        (ended(*TRACEBACK, "torch.cuda.OutOfMemoryError: CUDA out of memory."), OutOfMemory, "GPU ran out of memory"),
        (ended("[rank1]: torch.OutOfMemoryError: CUDA out", "NCCL WARN"), OutOfMemory, "GPU ran out of memory"),
        (ended(code=-9), OutOfMemory, "machine's memory"),
        (ended(code=137), OutOfMemory, "machine's memory"),
        (ended("  exitcode  : -9 (pid: 77)", "  error_file: <N/A>"), OutOfMemory, "machine's memory"),
        (ended(*TRACEBACK, "MemoryError"), OutOfMemory, "machine's memory"),
        (
            ended(*TRACEBACK, "ModuleNotFoundError: No module named 'cv2'"),
            EngineUnavailable,
            "module 'cv2'. Install it with: /venv/bin/python -m pip install opencv-python-headless",
        ),
        (
            ended(*TRACEBACK, "ImportError: libGL.so.1: cannot open shared object file: No such file or directory"),
            EngineUnavailable,
            "cannot import what it needs: ImportError: libGL.so.1",
        ),
        (
            ended(*TRACEBACK, "    assert FLASH_ATTN_2_AVAILABLE", "AssertionError"),
            EngineUnavailable,
            "needs flash-attn, which is not installed",
        ),
        (
            ended(*TRACEBACK, "RuntimeError: No CUDA GPUs are available"),
            EngineUnavailable,
            "cannot use the GPU while sampling: RuntimeError: No CUDA GPUs are available",
        ),
        (
            ended("torch.distributed.DistBackendError: NCCL error in: x.cpp:1, unhandled system error"),
            EngineUnavailable,
            "NCCL error",
        ),
        (
            ended("safetensors_rust.SafetensorError: Error while deserializing header: MetadataIncompleteBuffer"),
            EngineUnavailable,
            "cannot read the weights",
        ),
        (ended("OSError: [Errno 28] No space left on device"), DiskFull, "full: generate.py could not write"),
        (ended("OSError: [Errno 30] Read-only file system: '/o'"), DiskFull, "The disk is read-only: generate.py"),
        (
            ended("usage: generate.py [-h]", "generate.py: error: argument --size: invalid choice: '1*1'", code=2),
            EngineFailed,
            "refused its arguments (another version of Wan2.2?): argument --size: invalid choice: '1*1'",
        ),
        (
            ended(*TRACEBACK, "RuntimeError: shape '[1, 5]' is invalid", "CUDA kernel errors might be"),
            EngineFailed,
            "generate.py ended with code 1 while sampling: RuntimeError: shape '[1, 5]' is invalid",
        ),
        (
            ended("[rank0]: ValueError: the first", "torch.distributed.elastic.errors.ChildFailedError: "),
            EngineFailed,
            "ValueError: the first",
        ),
        (ended(*TRACEBACK, "AssertionError"), EngineFailed, "while sampling: AssertionError"),
        (ended("one", "two", "three", "four", code=7), EngineFailed, "code 7 while sampling: two | three | four"),
        (ended(code=-11), EngineFailed, "was killed by signal 11 while sampling"),
        (Exit(1), EngineFailed, "it wrote nothing"),
    ],
)
def test_a_failure_is_recognised(exit_: Exit, error: type[EngineError], says: str) -> None:
    raised = failure(exit_, WHERE)

    assert type(raised) is error
    assert says in str(raised)


def test_no_message_has_a_traceback_or_is_long() -> None:
    raised = failure(ended(*TRACEBACK, f"RuntimeError: {'x' * 10_000}"), WHERE)

    assert "Traceback" not in str(raised)
    assert "line 575" not in str(raised)
    assert len(str(raised)) < 600


def test_what_was_logged_of_a_failure_is_added() -> None:
    where = Context("generate.py", "python", "saving", " It wrote: save_video failed")

    raised = failure(ended("FileNotFoundError: video file v.mp4 does not exist"), where)

    assert str(raised).endswith("does not exist It wrote: save_video failed")
