"""What is tested here runs in a server too, so its async tests run in the server's event loop."""

from loops import server as pytest_asyncio_loop_factories

__all__ = ["pytest_asyncio_loop_factories"]
