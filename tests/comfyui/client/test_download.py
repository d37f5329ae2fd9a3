"""Outputs arrive whole or not at all, and in little memory."""

from __future__ import annotations

import hashlib
import tracemalloc
from pathlib import Path

import pytest

from fakes.comfyui import FakeComfyUI
from wanworker.comfyui.client.history import OutputFile
from wanworker.comfyui.client.http import ComfyClient
from wanworker.errors import DiskFull, EngineUnavailable, NoOutput


def stored(server: FakeComfyUI, data: bytes, *, name: str = "a b\u4e16.mp4", subfolder: str = "video/x") -> OutputFile:
    path = server.folder / "output" / subfolder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return OutputFile(name, subfolder, "output", "1", "images")


async def test_a_file_of_a_subfolder_arrives_whole(client: ComfyClient, server: FakeComfyUI, tmp_path: Path) -> None:
    data = bytes(range(256)) * 9000

    size = await client.view(stored(server, data), tmp_path / "out.mp4")

    assert len(data) == size
    assert data == (tmp_path / "out.mp4").read_bytes()


async def test_sixty_megabytes_take_little_memory(client: ComfyClient, server: FakeComfyUI, tmp_path: Path) -> None:
    data = b"0123456789abcdef" * (60 << 16)
    file, digest = stored(server, data), hashlib.sha256(data).hexdigest()
    del data
    tracemalloc.start()

    size = await client.view(file, tmp_path / "out.mp4")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    with (tmp_path / "out.mp4").open("rb") as arrived:
        assert digest == hashlib.file_digest(arrived, "sha256").hexdigest()
    assert 60 << 20 == size
    assert peak < 12 << 20  # seven are usual; the whole file would be sixty


@pytest.mark.parametrize("breaks", [1, 2])
async def test_a_broken_transfer_is_tried_again(
    client: ComfyClient, server: FakeComfyUI, tmp_path: Path, breaks: int
) -> None:
    server.cut_downloads = breaks

    size = await client.view(stored(server, b"x" * 100_000), tmp_path / "out.mp4")

    assert 100_000 == size


async def test_a_transfer_that_stays_broken_leaves_nothing(
    client: ComfyClient, server: FakeComfyUI, tmp_path: Path
) -> None:
    server.cut_downloads = 99

    with pytest.raises(EngineUnavailable):
        await client.view(stored(server, b"x" * 100_000), tmp_path / "out.mp4")

    assert [] == list(tmp_path.glob("out*"))
    assert 96 == server.cut_downloads


@pytest.mark.parametrize("file", [("gone.mp4", ""), ("a..b.mp4", ""), ("a.mp4", "../..")])
async def test_an_output_that_the_server_does_not_have_is_no_output(
    client: ComfyClient, tmp_path: Path, file: tuple[str, str]
) -> None:
    with pytest.raises(NoOutput, match="does not have it"):
        await client.view(OutputFile(*file, "output", "1", "images"), tmp_path / "out.mp4")


async def test_a_full_disk_is_its_own_error(client: ComfyClient, server: FakeComfyUI, tmp_path: Path) -> None:
    full = tmp_path / "out.mp4"
    (tmp_path / "out.mp4.part").symlink_to("/dev/full")

    with pytest.raises(DiskFull, match="No space left"):
        await client.view(stored(server, b"x" * 3_000_000), full)

    assert not full.exists()
