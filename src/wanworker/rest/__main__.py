"""`python -m wanworker.rest [--host HOST] [--port PORT]`: serve the REST API until a signal ends it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

#: What a shell shows for a program that Ctrl-C stopped.
_EXIT_STOPPED = 130

try:
    from wanworker import logs
    from wanworker.app import Worker
    from wanworker.rest._serve import address, check_free, serve
    from wanworker.settings import BadSettings, load_settings
except KeyboardInterrupt:  # Ctrl-C while the modules load, which takes a second
    sys.exit(_EXIT_STOPPED)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve, and return the exit code: 2 if the server cannot start, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m wanworker.rest", description="Serve the REST API.")
    parser.add_argument("--host", help="default: REST_HOST")
    parser.add_argument("--port", type=int, help="default: PORT, else REST_PORT")
    args = parser.parse_args(argv)
    logs.set_up()
    try:
        settings = load_settings()
        host, port = address(settings, args.host, args.port)
        check_free(host, port)
    except BadSettings as error:
        sys.stderr.write(f"The server will not start: {error}\n")
        return 2
    try:
        return serve(Worker.from_settings(settings), settings, host, port)
    except KeyboardInterrupt:  # before uvicorn listens, or again while it stops
        return _EXIT_STOPPED


if __name__ == "__main__":
    sys.exit(main())
