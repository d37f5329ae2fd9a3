"""What is tested here runs in a server too, so each async test runs in the server's event loop as well."""

from __future__ import annotations

from pathlib import Path

import pytest

from loops import both as pytest_asyncio_loop_factories

__all__ = ["pytest_asyncio_loop_factories"]

FOLDER = Path(__file__).parent

#: Modules whose tests run ffmpeg or a decoder again and again. The default run has them in the server's loop alone:
#: that asyncio's own starts, feeds and ends a program is shown by tests/process, and by the other modules here.
LONG = frozenset({"test_decoders", "test_delivery", "test_disguise", "test_finishing", "test_reencode", "test_writer"})


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the second loop of what takes long as slow. The items are of the whole session, wherever they are."""
    for item in items:
        if item.path.stem in LONG and item.path.is_relative_to(FOLDER) and "asyncio" in _parameters(item):
            item.add_marker(pytest.mark.slow)


def _parameters(item: pytest.Item) -> list[str]:
    """Return the words between the brackets of a test's name."""
    return item.name.partition("[")[2].rstrip("]").split("-")
