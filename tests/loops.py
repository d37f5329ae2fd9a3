"""Run tests in both event loops: asyncio's own, and uvloop, which uvicorn takes in a server where it can."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import uvloop


def both(config: pytest.Config, item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Return the loops for each async test; a folder's conftest.py names this `pytest_asyncio_loop_factories`."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def server(config: pytest.Config, item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Return uvloop alone, for tests that take long and whose code runs in asyncio's own loop in other tests."""
    return {"uvloop": uvloop.new_event_loop}
