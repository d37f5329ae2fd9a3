"""What is tested here runs in a server too, so each async test runs in the server's event loop as well."""

from loops import server as pytest_asyncio_loop_factories

__all__ = ["pytest_asyncio_loop_factories"]
