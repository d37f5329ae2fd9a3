"""What the operating system says of a failed connection, in its own words."""

from __future__ import annotations

import os
import socket
import ssl


def system_words(error: OSError) -> str:
    """
    Return what the system says of *error*: `Connection refused`. Pure.

    asyncio puts words of its own and the address in their place: `Connect call failed ('127.0.0.1', 8188)`.
    """
    number = error.errno or 0
    # The numbers of these two are not the system's.
    if isinstance(error, ssl.SSLError | socket.gaierror) or number <= 0:
        return error.strerror or "unreachable"
    return os.strerror(number)
