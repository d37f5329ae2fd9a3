"""Make the calls that change a volume."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

#: Files and folders that only their owner may read.
PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700


class FileCalls:
    """Make the calls that change a volume, one method each. Tests replace them by a slow or a failing volume."""

    def write(self, path: Path, data: bytes, mode: int = PRIVATE_FILE) -> None:
        """
        Write a new file and wait until it is on the disk.

        A rename may reach the disk before the data. After a power cut, or on another host of a network volume, the name
        would then show an empty file. So the file is synced before it is renamed.
        """
        with os.fdopen(_opened(path, os.O_EXCL, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def rename(self, source: Path, target: Path) -> None:
        """Move *source* to *target*, replacing it."""
        source.replace(target)

    def link(self, source: Path, target: Path) -> None:
        """Give the file *source* a second name. Raises FileExistsError; another OSError where links are unknown."""
        target.hardlink_to(source)

    def make(self, path: Path, data: bytes = b"", mode: int = PRIVATE_FILE) -> None:
        """Make a file that must not exist yet, and write *data* with one write. Raises FileExistsError."""
        descriptor = _opened(path, os.O_EXCL, mode)
        try:
            _write(descriptor, data)
        except OSError:
            path.unlink()
            raise
        finally:
            os.close(descriptor)

    def append(self, path: Path, data: bytes, mode: int = PRIVATE_FILE) -> None:
        """Add *data* at the end with one write."""
        descriptor = _opened(path, os.O_APPEND, mode)
        try:
            _write(descriptor, data)
        finally:
            os.close(descriptor)

    def overwrite(self, path: Path, data: bytes, mode: int = PRIVATE_FILE) -> None:
        """Write *data* over the file's content, which always has the same size: this works on a full disk. No fsync."""
        descriptor = _opened(path, 0, mode)
        try:
            os.write(descriptor, data)
            os.utime(descriptor)
        finally:
            os.close(descriptor)

    def unlink(self, path: Path) -> None:
        """Remove a file. Raises FileNotFoundError."""
        path.unlink()

    def mkdir(self, path: Path, mode: int = PRIVATE_FOLDER) -> None:
        """Make a folder and those above it where they are missing."""
        path.mkdir(mode=mode, parents=True, exist_ok=True)


def _write(descriptor: int, data: bytes) -> None:
    if os.write(descriptor, data) < len(data):
        # Only a completely full volume writes less of so few bytes.
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _opened(path: Path, flags: int, mode: int) -> int:
    """Open *path* for writing, and make it if it is missing. It gets *mode* whatever the umask is."""
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | flags, mode)
    if os.fstat(descriptor).st_mode & 0o777 != mode:
        # Another user's file, or a volume without permissions, stays as it is.
        with contextlib.suppress(PermissionError):
            os.fchmod(descriptor, mode)
    return descriptor
