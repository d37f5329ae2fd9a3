"""Write small files on a volume that several hosts share: replace, create once, append; errors are translated."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from wanworker.errors import EngineUnavailable
from wanworker.media.new_file import disk_full

#: Records and requests hold what callers wrote: they are their owner's alone, whatever the umask is.
FILE_MODE, FOLDER_MODE = 0o600, 0o700

#: Where a file is written before it is renamed. One folder for all, so that a start sees what a killed process left.
UNFINISHED = "unfinished"

#: A claim takes seconds, on a slow disk too. What is this old and still half done was left by a process that died.
LEFTOVER_AFTER_S = 600.0


class FileCalls:
    """The calls that change a volume, one method each; tests put a slow or a failing volume in their place."""

    def write(self, path: Path, data: bytes) -> None:
        """
        Write a new file and wait until it is on the disk.

        A rename may reach the disk before the data does, and after a power cut, or on another host of a network
        volume, the name would then show an empty file: hence fsync before any rename.
        """
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, FILE_MODE), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def rename(self, source: Path, target: Path) -> None:
        """Put *source* in the place of *target*."""
        source.replace(target)

    def make(self, path: Path) -> None:
        """Make an empty file. Raises FileExistsError."""
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, FILE_MODE))

    def append(self, path: Path, data: bytes) -> None:
        """Add *data* at the end with one write."""
        descriptor = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, FILE_MODE)
        try:
            if os.write(descriptor, data) < len(data):
                # Only a volume that is full to the brim cuts a short write shorter.
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(descriptor)

    def overwrite(self, path: Path, data: bytes) -> None:
        """Put *data*, of one size always, over what the file holds: a full disk has room for that. No fsync."""
        descriptor = os.open(path, os.O_CREAT | os.O_WRONLY, FILE_MODE)
        try:
            os.write(descriptor, data)
            os.utime(descriptor)
        finally:
            os.close(descriptor)

    def unlink(self, path: Path) -> None:
        """Remove a file. Raises FileNotFoundError."""
        path.unlink()

    def mkdir(self, path: Path) -> None:
        """Make a folder and those above it, unless they are there."""
        path.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)


class Disk:
    """
    The files below one folder, named by relative paths; the folder is made when the first file is written. Folders and
    files can be read by their owner alone.

    No locks: network volumes keep them badly or not at all. What is relied on instead is that rename replaces, that
    O_EXCL makes a file once, and that O_APPEND writes at the end (over NFS two hosts may still write over one
    another there: only the index of the listing is at stake). Every method raises DiskFull or EngineUnavailable.
    """

    def __init__(self, root: Path, *, files: FileCalls | None = None) -> None:
        self._root = root
        self._files = files or FileCalls()
        self._replacing = threading.Lock()
        self._private: set[Path] = set()

    def read(self, name: str, start: int = 0, size_bytes: int = -1) -> bytes | None:
        """Return the bytes of a file from *start*, all or *size_bytes* of them; None if there is no such file."""
        with self._in_our_words():
            try:
                with (self._root / name).open("rb") as file:
                    file.seek(start)
                    return file.read(size_bytes)
            except FileNotFoundError:
                return None

    def replace(self, name: str, data: bytes, *, still_right: Callable[[], bool] = lambda: True) -> bool:
        """
        Put *data* in the place of a file, whole or not at all; False if *still_right* said no at the last moment.

        The question is asked after the slow part: between threads of this Disk nothing comes between it and the
        rename, between processes some microseconds remain.
        """
        path = self._root / name
        with self._in_our_words(), self._beside(path) as temporary:
            self._files.write(temporary, data)
            with self._replacing:
                replacing = still_right()
                if replacing:
                    self._files.rename(temporary, path)
            return replacing

    def make(self, name: str) -> bool:
        """Make an empty file; False if it is there already. Among all that try at once exactly one gets True."""
        path = self._root / name
        with self._in_our_words():
            self._make(path.parent)
            try:
                self._files.make(path)
            except FileExistsError:
                return False
            return True

    def append(self, name: str, data: bytes) -> None:
        """Add *data* at the end of a file with one write."""
        path = self._root / name
        with self._in_our_words():
            self._make(path.parent)
            self._files.append(path, data)

    def overwrite(self, name: str, data: bytes) -> None:
        """Put *data* over what the file holds; it has one size always. Neither atomic nor lasting: for marks."""
        path = self._root / name
        with self._in_our_words():
            self._make(path.parent)
            self._files.overwrite(path, data)

    def remove(self, name: str) -> bool:
        """Remove a file; False if it is gone already."""
        with self._in_our_words():
            try:
                self._files.unlink(self._root / name)
            except FileNotFoundError:
                return False
            return True

    def sizes(self, folder: str) -> dict[str, int]:
        """Return name and size in bytes of the files of *folder*; empty if there is no such folder."""
        with self._in_our_words():
            try:
                with os.scandir(self._root / folder) as entries:
                    return {name: size for entry in entries for name, size in _size(entry)}
            except FileNotFoundError:
                return {}

    def ages_s(self, folder: str) -> dict[str, float]:
        """Return name and age in seconds of the files of *folder*, by the clock that gave a new file its time."""
        if not (self._root / folder).is_dir():
            return {}
        with self._in_our_words(), self._beside(self._root / "clock") as just_written:
            self._files.write(just_written, b"")
            now = just_written.stat().st_mtime
            with os.scandir(self._root / folder) as entries:
                return {entry.name: now - mtime for entry in entries for mtime in _mtime(entry)}

    def make_folder(self) -> None:
        """Make the folder itself, for files that others write into it."""
        with self._in_our_words():
            self._make(self._root)

    def _make(self, folder: Path) -> None:
        """Make *folder* and the root; once in a process close those to others that an older version made."""
        if folder in self._private and folder.is_dir():
            return
        for each in dict.fromkeys((self._root, folder)):
            self._files.mkdir(each)
            with contextlib.suppress(PermissionError):  # another user's, or a volume without permissions
                if each.stat().st_mode & 0o077:
                    each.chmod(FOLDER_MODE)
        self._private.add(folder)

    @contextmanager
    def _beside(self, path: Path) -> Iterator[Path]:
        """Give a name in the same file system as *path*, so that it can be renamed; nothing stays under it."""
        self._make(path.parent)
        self._make(self._root / UNFINISHED)
        temporary = self._root / UNFINISHED / f"{path.name}.{secrets.token_hex(8)}.tmp"
        try:
            yield temporary
        finally:
            # What a disk that fails does not let us remove is no news: the failure itself is on its way.
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    @contextmanager
    def opened(self, name: str) -> Iterator[Callable[[int, int], bytes]]:
        """Enclose several reads, of (start, size in bytes), of one file as it is now; they are empty without one."""
        with self._in_our_words():
            try:
                file = (self._root / name).open("rb")
            except FileNotFoundError:
                yield lambda _start, _size_bytes: b""
                return
            with file:

                def read(start: int, size_bytes: int) -> bytes:
                    file.seek(start)
                    return file.read(size_bytes)

                yield read

    def size(self, name: str) -> int:
        """Return the size of a file in bytes; 0 if there is no such file."""
        with self._in_our_words():
            try:
                return (self._root / name).stat().st_size
            except FileNotFoundError:
                return 0

    def names(self, folder: str) -> frozenset[str]:
        """Return the names in *folder*; empty if there is no such folder."""
        with self._in_our_words():
            try:
                return frozenset(path.name for path in (self._root / folder).iterdir())
            except FileNotFoundError:
                return frozenset()

    @contextmanager
    def _in_our_words(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if full := disk_full(error, f"the job records in {self._root}"):
                raise full from error
            raise EngineUnavailable(
                f"The job records in {self._root} cannot be read or written: {error.strerror or error}.",
                hint="The folder must be one that the worker may make and write in; check WAN_OUT_DIR and the volume.",
            ) from error


def _mtime(entry: os.DirEntry[str]) -> Iterator[float]:
    """Yield nothing for a file that another process removed between the listing and the look."""
    try:
        yield entry.stat().st_mtime
    except FileNotFoundError:
        return


def _size(entry: os.DirEntry[str]) -> Iterator[tuple[str, int]]:
    """Yield nothing for a file that another process removed between the listing and the look."""
    try:
        yield entry.name, entry.stat().st_size
    except FileNotFoundError:
        return
