"""Name jobs, and check the files that a command is to write."""

from __future__ import annotations

import secrets
import time
from pathlib import Path

from wanworker.cli._base import misused


def new_request_id(prefix: str) -> str:
    """Return a new id that sorts by time: `run-20260101-120000-1a2b`."""
    return f"{prefix}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def check_output(path: Path, *, force: bool) -> None:
    """Raise CommandFailed, before anything is rendered, if *path* could not be written."""
    if not path.parent.is_dir():
        raise misused(
            f"The folder {path.parent} does not exist.", hint="Create it first, or choose another folder with -o."
        )
    if path.is_dir():
        raise misused(f"{path} is a folder.", hint="Give the name of a file with -o.")
    if path.exists() and not force:
        raise misused(f"{path} already exists.", hint="Choose another file with -o, or replace this one with --force.")
