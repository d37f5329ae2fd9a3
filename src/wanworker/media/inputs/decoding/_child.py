"""
Decode callers' pictures, one after another, in a process that may be killed: `python -m` this module.

Stdin and stdout are one socket. A request is a line of JSON (`source`, `target`, `max_pixels`, `limit_s`), and so is
its answer: `{}`, or the name of the `error` with its `text` and `hint`. The process imports Pillow and little else, so
that it starts quickly. It ends when its stream ends, and by a signal if a picture takes more processor time than
`limit_s` seconds.
"""

from __future__ import annotations

import contextlib
import json
import resource
import signal
import socket
from pathlib import Path
from typing import Any

from wanworker.errors import DiskFull, InputRefused, InputUnavailable
from wanworker.media.inputs.decoding._clean_png import write_clean_png

#: The memory of the whole process: the picture, its copies on the way to RGB, Python and Pillow.
ADDRESS_SPACE_BYTES = 2 * 1024**3
#: A PNG of RGB is at most a little larger than its pixels.
_BYTES_PER_PIXEL = 4
_TEXT_CHARS = 2000


def main() -> None:
    """Answer requests until the stream ends."""
    _limit(resource.RLIMIT_AS, ADDRESS_SPACE_BYTES)
    _decode_avif_in_one_thread()
    with socket.socket(fileno=0) as stream, stream.makefile("rwb") as lines:
        while line := lines.readline():
            lines.write(json.dumps(_answer(json.loads(line))).encode() + b"\n")
            lines.flush()


def _answer(request: dict[str, Any]) -> dict[str, str]:
    max_pixels = int(request["max_pixels"])
    _limit(resource.RLIMIT_FSIZE, _BYTES_PER_PIXEL * max_pixels + 2**20)
    # The limit is processor time, which a busy machine does not lengthen. SIGPROF ends the process even inside C code.
    signal.setitimer(signal.ITIMER_PROF, request["limit_s"])
    try:
        write_clean_png(Path(request["source"]), Path(request["target"]), max_pixels=max_pixels)
    except (InputRefused, InputUnavailable, DiskFull) as error:
        return {"error": type(error).__name__, "text": str(error)[:_TEXT_CHARS], "hint": error.hint}
    except MemoryError:
        size = f"{ADDRESS_SPACE_BYTES // 1024**3} GiB"
        return _refusal(f"the picture needs more than {size} of memory to decode.", "Send a smaller picture.")
    except Exception as error:  # noqa: BLE001 - a door: any error of a decoder is the picture's fault
        return _refusal(f"the picture cannot be decoded ({type(error).__name__}).", "Save it again as a plain PNG.")
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return {}


def _refusal(text: str, hint: str) -> dict[str, str]:
    return {"error": "InputRefused", "text": text, "hint": hint}


def _limit(what: int, most: int) -> None:
    """Lower a limit of this process, if the system has it."""
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(what, (most, resource.getrlimit(what)[1]))


def _decode_avif_in_one_thread() -> None:
    """Decode AVIF in one thread, because a thread for each core would use up the address space with its stack."""
    with contextlib.suppress(ImportError):
        from PIL import AvifImagePlugin

        AvifImagePlugin.DEFAULT_MAX_THREADS = 1


if __name__ == "__main__":
    main()
