from __future__ import annotations

import sys
from pathlib import Path

import pytest

from wanworker.models.machine.hardware import (
    Gpu,
    GpuUse,
    available_memory_mib,
    free_gpu_memory_mib,
    free_memory_in,
    gpus,
    gpus_in,
    own_memory_mib,
    uses_in,
)


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


FOUR_CARDS = "".join(f"card {number}, 24564, 8.9, 580, GPU-{number}{number}a-b\n" for number in range(4))


@pytest.mark.parametrize(
    ("visible", "numbers"),
    [
        (None, [0, 1, 2, 3]), ("0", [0]), ("3,1", [3, 1]), ("", []), ("-1", []), ("0,9,1", [0]), (" 2 ", [2]),
        ("GPU-33a-b,GPU-0", [3, 0]), ("GPU-x", []), ("MIG-GPU-1/0/0", [0]),
    ],
)  # fmt: skip
def test_a_program_sees_the_cards_of_cuda_visible_devices(visible: str | None, numbers: list[int]) -> None:
    assert [f"card {number}" for number in numbers] == [gpu.name for gpu in gpus_in(FOUR_CARDS, visible)]


def test_the_free_memory_is_that_of_the_first_card_that_is_seen() -> None:
    answer = "100, GPU-a\n200, GPU-b\n[N/A], GPU-c\n"

    assert [100, 200, 200, None, None] == [
        free_memory_in(answer, visible) for visible in (None, "1,0", "GPU-b", "2", "")
    ]


def test_what_a_card_does_is_in_the_order_of_the_cards_and_unknown_where_it_is_not_told() -> None:
    answer = "1200, 61, 97, GPU-a\n3, [N/A], 0, GPU-b\nno devices were found\n"

    assert uses_in(answer) == (GpuUse(1200, 61, 97), GpuUse(3, None, 0))
    assert uses_in(answer, "1,0") == (GpuUse(3, None, 0), GpuUse(1200, 61, 97))
    assert uses_in("") == ()


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


def test_a_hidden_card_is_not_there(bin_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    cards = "H200, 143771, 9.0, 570, GPU-a\\nB200, 183359, 10.0, 570, GPU-b\\n"
    nvidia_smi(bin_dir, f"case $1 in *free*) printf '1, GPU-a\\n2, GPU-b\\n';; *) printf '{cards}';; esac")

    assert ["B200"] == [gpu.name for gpu in gpus()]
    assert 2 == free_gpu_memory_mib()


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
    (group / "memory.stat").write_text(f"anon 5\ninactive_file {1024**3}\nactive_file {512 * 1024**2}\nshmem 9\n")

    assert 2560 == available_memory_mib(tmp_path)

    (group / "memory.max").write_text("max\n")

    assert 8192 == available_memory_mib(tmp_path)

    (group / "memory").mkdir()
    (group / "memory/memory.limit_in_bytes").write_text(f"{6 * 1024**3}\n")
    (group / "memory/memory.usage_in_bytes").write_text(f"{3 * 1024**3}\n")
    (group / "memory/memory.stat").write_text(
        f"inactive_file 7\ntotal_inactive_file {2 * 1024**3}\ntotal_active_file {512 * 1024**2}\n"
    )

    assert 5632 == available_memory_mib(tmp_path)


def test_what_a_process_keeps_is_its_own_memory_and_not_its_files(tmp_path: Path) -> None:
    (tmp_path / "proc/7").mkdir(parents=True)
    (tmp_path / "proc/7/status").write_text(
        "VmRSS:\t9999999 kB\nRssAnon:\t 4096 kB\nRssFile:\t 8192 kB\nRssShmem:\t 1024 kB\n"
    )

    assert 5 == own_memory_mib(7, tmp_path)
    assert 0 == own_memory_mib(8, tmp_path)
