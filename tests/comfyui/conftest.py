"""A fake ComfyUI server and a client for it, fresh for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fakes.comfyui import FakeComfyUI
from wanworker.comfyui.client.http import ComfyClient


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[FakeComfyUI]:
    async with FakeComfyUI(tmp_path / "comfyui") as running:
        yield running


@pytest.fixture
async def client(server: FakeComfyUI) -> AsyncIterator[ComfyClient]:
    async with ComfyClient(server.url) as opened:
        yield opened
