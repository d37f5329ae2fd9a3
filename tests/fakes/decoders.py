"""Programs that stand in for the child that decodes pictures, each with one behaviour, and pictures that take long."""

from __future__ import annotations

import sys

#: The child's own loop: what *body* makes of each request, as `answer`, goes back.
_LOOP = """
import json, os, signal, socket, sys, time
stream = socket.socket(fileno=0).makefile("rwb")
while line := stream.readline():
    request = json.loads(line)
    {body}
    stream.write(answer)
    stream.flush()
"""

_BODIES = {
    "hangs": "open(request['target'], 'w').write(str(os.getpid())); time.sleep(60)",
    "crashes": "os.kill(os.getpid(), signal.SIGSEGV)",
    "babbles": "answer = b'x' * 10**7",
    "nonsense": "answer = b'[1, 2\\n'",
    "counts": "open(request['target'], 'a').write(str(os.getpid())); answer = b'{}\\n'",
    "once": "open(request['target'], 'w').write(str(os.getpid())); stream.write(b'{}\\n'); stream.flush(); break",
}


def decoder(behaviour: str) -> tuple[str, ...]:
    """Return the command of a child with *behaviour*."""
    return sys.executable, "-I", "-c", _LOOP.replace("{body}", _BODIES[behaviour])
