from __future__ import annotations

import sys
from pathlib import Path

import pytest

from wanworker.models.machine.hardware import Gpu, available_memory_mib, gpus, gpus_in


@pytest.mark.parametrize(
    ("csv", "expected"),
    [
        ("NVIDIA H200, 143771, 9.0, 570.86.15\n", (Gpu("NVIDIA H200", 143771, "9.0", "570.86.15"),)),
        (
            "NVIDIA GeForce RTX 5090, 32607, 12.0, 575.57\nNVIDIA GeForce RTX 4090, 24564, 8.9, 575.57\n",
            (
                Gpu("NVIDIA GeForce RTX 5090", 32607, "12.0", "575.57"),
                Gpu("NVIDIA GeForce RTX 4090", 24564, "8.9", "575.57"),
            ),
        ),
        ("", ()),
        ("No devices were found\n", ()),
        ("NVIDIA H200, [N/A], 9.0, 570.86.15\n", ()),
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n", ()),
    ],
)
def test_nvidia_smis_answer_is_read_line_by_line(csv: str, expected: tuple[Gpu, ...]) -> None:
    assert expected == gpus_in(csv)


@pytest.fixture
def bin_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder that is the whole PATH; what was asked before is forgotten."""
    monkeypatch.setenv("PATH", str(tmp_path))
    gpus.cache_clear()
    return tmp_path


def nvidia_smi(bin_dir: Path, script: str) -> None:
    program = bin_dir / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_the_driver_is_asked_for_each_card(bin_dir: Path) -> None:
    nvidia_smi(bin_dir, 'echo "$2" | /bin/grep -q noheader,nounits && echo "NVIDIA H200, 143771, 9.0, 570"')

    assert (Gpu("NVIDIA H200", 143771, "9.0", "570"),) == gpus()


def test_the_driver_is_asked_once(bin_dir: Path) -> None:
    nvidia_smi(bin_dir, f'echo asked >> "{bin_dir}/calls"')

    gpus()
    gpus()

    assert "asked\n" == (bin_dir / "calls").read_text()


@pytest.mark.parametrize("script", ["exit 9", "kill -9 $$"])
def test_a_driver_that_fails_is_no_gpu(bin_dir: Path, script: str) -> None:
    nvidia_smi(bin_dir, script)

    assert () == gpus()


def test_no_driver_is_no_gpu(bin_dir: Path) -> None:
    assert () == gpus()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_available_memory_is_a_plausible_number() -> None:
    available = available_memory_mib()

    assert available is not None
    assert 16 < available < 64 * 1024**2


def test_a_containers_own_limit_counts(tmp_path: Path) -> None:
    group = tmp_path / "sys/fs/cgroup"
    for folder in (tmp_path / "proc", group):
        folder.mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal:  99999999 kB\nMemAvailable:  8388608 kB\n")

    assert 8192 == available_memory_mib(tmp_path)

    (group / "memory.max").write_text(f"{4 * 1024**3}\n")
    (group / "memory.current").write_text(f"{3 * 1024**3}\n")
    (group / "memory.stat").write_text(f"anon 5\ninactive_file {1024**3}\n")

    assert 2048 == available_memory_mib(tmp_path)

    (group / "memory.max").write_text("max\n")

    assert 8192 == available_memory_mib(tmp_path)
