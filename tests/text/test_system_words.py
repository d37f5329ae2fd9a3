from __future__ import annotations

import errno
import os
import socket

import pytest

from wanworker.text.system_words import system_words


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 8188)"), os.strerror(errno.ECONNREFUSED)),
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
        (OSError("Multiple exceptions: [Errno 111] ..."), "unreachable"),
    ],
)
def test_a_failed_connection_is_told_in_the_systems_words(error: OSError, words: str) -> None:
    assert words == system_words(error)
