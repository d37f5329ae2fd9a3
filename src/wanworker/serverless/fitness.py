"""Check the worker's fitness: refuse to serve only where no job could succeed."""

from __future__ import annotations

import errno
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from wanworker import process
from wanworker.engines.machine.interpreters import kernel_in
from wanworker.errors import EngineUnavailable
from wanworker.media.video import ffmpeg
from wanworker.models.machine.gpu_kernel import KernelRun
from wanworker.models.machine.hardware import gpus
from wanworker.settings import Settings, child_environment

FFMPEG_TIMEOUT_S = 30.0

#: A full disk is not unfitness: jobs fail with their own code, and space may be freed while the worker runs.
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Unfit(Exception):
    """The worker cannot do any job. RunPod replaces it and shows the text."""


def fitness_check(settings: Settings, note_kernel: Callable[[str, KernelRun], None]) -> Callable[[], None]:
    """
    Return the check to register with the SDK, which runs it once before the first job and reports its name.

    Where there is a GPU, *note_kernel* gets the interpreter and the result of its test kernel, which health then shows.
    """

    def wanworker_fitness() -> None:
        check_writable(settings.out_dir)
        check_ffmpeg(ffmpeg.program)
        if settings.engine != "mini" and gpus():
            note_kernel(sys.executable, check_gpu(kernel_in(sys.executable)))

    return wanworker_fitness


def check_writable(out_dir: Path) -> None:
    """Make the output folder and a file in it. Raises Unfit."""
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=out_dir, prefix=".fitness-"):
            pass
    except OSError as error:
        if error.errno not in _FULL:
            raise Unfit(f"The output folder {out_dir} cannot be written: {error.strerror}. Set WAN_OUT_DIR.") from error


def check_ffmpeg(find: Callable[[], str], *, timeout_s: float = FFMPEG_TIMEOUT_S) -> None:
    """Run the ffmpeg that *find* returns. Raises Unfit if it fails."""
    try:
        program = find()
    except EngineUnavailable as error:
        raise Unfit(str(error)) from error
    if failure := _failure([program, "-version"], timeout_s):
        raise Unfit(f"ffmpeg does not run: {failure}")


def check_gpu(run: KernelRun) -> KernelRun:
    """Return *run*, the result of the test kernel. Raises Unfit if the kernel should have run but did not."""
    if run.failed:
        raise Unfit(f"The GPU does not work: {run.text}")
    return run


def _failure(argv: Sequence[str], timeout_s: float) -> str | None:
    """Return what went wrong in one line, or None."""
    try:
        done = process.ask(argv, env=child_environment(), timeout_s=timeout_s)
    except (TimeoutError, EngineUnavailable) as error:
        return str(error)
    return f"exit code {done.code}: {(done.stderr or ('it wrote no message',))[-1]}" if done.code else None
