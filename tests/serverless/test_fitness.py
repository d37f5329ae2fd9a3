"""The worker refuses to serve for what no job survives, and for nothing else."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from wanworker.errors import EngineUnavailable
from wanworker.models.machine.gpu_kernel import GPU_PROGRAM, KernelRun, run_kernel
from wanworker.serverless.fitness import (
    Unfit,
    check_ffmpeg,
    check_gpu,
    check_writable,
    fitness_check,
)
from wanworker.settings import Settings, child_environment


def no_kernel(python: str, run: KernelRun) -> None:
    raise AssertionError(f"a kernel ran in {python} where there is no GPU: {run}")


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_an_output_folder_that_is_missing_is_made_and_left_empty(tmp_path: Path) -> None:
    out_dir = tmp_path / "volume" / "outputs"

    check_writable(out_dir)

    assert [] == list(out_dir.iterdir())


def test_an_output_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(Unfit, match=r"file/outputs cannot be written: .* Set WAN_OUT_DIR"):
        check_writable(tmp_path / "file" / "outputs")


def test_an_ffmpeg_that_runs_is_fit() -> None:
    check_ffmpeg(lambda: "/bin/true")


def test_a_missing_ffmpeg_is_unfit_in_its_own_words() -> None:
    def none() -> str:
        raise EngineUnavailable("There is no ffmpeg here; imageio-ffmpeg brings one.")

    with pytest.raises(Unfit, match="There is no ffmpeg here"):
        check_ffmpeg(none)


def test_an_ffmpeg_that_does_not_start_is_unfit(tmp_path: Path) -> None:
    broken = tmp_path / "ffmpeg"
    broken.write_text("")

    with pytest.raises(Unfit, match=r"ffmpeg does not run: .*Permission denied"):
        check_ffmpeg(lambda: str(broken))


def gpu_checked(code: str, *, timeout_s: float = 30) -> KernelRun:
    """Check the GPU by a program of the test's own."""
    return check_gpu(run_kernel(python(code), child_environment(), timeout_s=timeout_s))


def test_a_gpu_that_runs_a_kernel_is_fit() -> None:
    assert gpu_checked("print('a kernel ran')").ran


def test_a_gpu_that_fails_says_its_last_line() -> None:
    code = "import sys; print('warming up', file=sys.stderr); sys.exit('CUDA error: no kernel image')"

    with pytest.raises(Unfit, match="The GPU does not work: exit code 1: CUDA error: no kernel image"):
        gpu_checked(code)


def test_a_gpu_that_crashes_its_process_says_the_signal() -> None:
    with pytest.raises(Unfit, match="exit code -6: it wrote no message"):
        gpu_checked("import os; os.abort()")


def test_a_gpu_that_hangs_is_unfit_when_its_time_is_up() -> None:
    with pytest.raises(Unfit, match=r"no answer within 0\.2 s"):
        gpu_checked("import threading; threading.Event().wait()", timeout_s=0.2)


@pytest.mark.parametrize(
    ("torch", "message"),
    [
        ("class version: cuda = None", None),
        ("class version: cuda = '12.8'\nclass cuda:\n    device_count = staticmethod(lambda: 0)", "torch finds no GPU"),
        (
            "class version: cuda = '12.8'\nclass cuda:\n    device_count = staticmethod(lambda: 1)\n"
            "def ones(*size, device): raise RuntimeError('no kernel image for ' + device)",
            "no kernel image for cuda:0",
        ),
    ],
    ids=["built without CUDA", "no device", "no kernel"],
)
def test_the_gpu_program_asks_torch(tmp_path: Path, torch: str, message: str | None) -> None:
    (tmp_path / "torch.py").write_text(torch)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{GPU_PROGRAM}"

    if message is None:
        assert not gpu_checked(code).ran
    else:
        with pytest.raises(Unfit, match=message):
            gpu_checked(code)


def test_missing_weights_and_an_absent_comfyui_do_not_stop_a_worker(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings(engine="mini")

    fitness_check(settings, no_kernel)()

    assert not settings.ckpt_dir.exists()
    assert settings.out_dir.is_dir()


def test_the_check_has_a_name_that_runpod_can_show(make_settings: Callable[..., Settings]) -> None:
    assert "wanworker_fitness" == fitness_check(make_settings(), no_kernel).__name__
