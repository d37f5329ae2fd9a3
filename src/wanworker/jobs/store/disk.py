"""Write small files on a volume that several hosts share: replace, create once, append. Translate its errors."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from wanworker.errors import EngineUnavailable
from wanworker.jobs.store._folders import Folders
from wanworker.jobs.store._lock import Lock
from wanworker.jobs.store.file_calls import FileCalls
from wanworker.media.new_file import disk_full

# The folders in which files are written before they are renamed, and of the locks of those that are looked at before.
_UNFINISHED, _LOCKS = "unfinished", "locks"

#: A claim takes seconds, even on a slow disk. One that is this old and not complete was left by a process that died.
LEFTOVER_AFTER_S = 600.0

#: What tells whether a file was replaced: device, inode, time in nanoseconds, size in bytes.
Version = tuple[int, int, int, int]


class Disk:
    """
    Access the files below one folder by relative paths. The folder is made when the first file is written.

    *volume* is the folder of the videos, two or more levels up or the folder above. Files and folders get its
    permissions, so that all workers that may write videos there can read and write each other's records, whatever
    their user ids and umasks are. With *is_private* only their owner can read them.

    A folder that was there and is missing now, together with *volume*, was unmounted or moved away. Nothing is made in
    its place then, because it would land on another disk: every method raises DiskFull until it is back.

    It uses no locks of the system, because network volumes support them badly or not at all. It relies on three
    things: rename replaces, O_EXCL makes a file once, and O_APPEND writes at the end. (Over NFS, two hosts may still
    overwrite each other's appended lines; only the index of the listing could suffer.) Every method raises DiskFull or
    EngineUnavailable.
    """

    def __init__(
        self,
        root: Path,
        *,
        volume: Path | None = None,
        is_private: bool = False,
        files: FileCalls | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._root = root
        self._files = files or FileCalls()
        self._folders = Folders(root, volume or root.parent, self._files, is_private=is_private)
        self._pause = pause

    def check(self) -> None:
        """Raise DiskFull if the folder was there and its volume is gone."""
        with self._in_our_words():
            self._folders.check()

    def read(self, name: str, start: int = 0, size_bytes: int = -1) -> bytes | None:
        """Return the bytes of a file from *start*, all or *size_bytes* of them, or None if there is no such file."""
        with self._in_our_words():
            try:
                with (self._root / name).open("rb") as file:
                    file.seek(start)
                    return file.read(size_bytes)
            except FileNotFoundError:
                self._folders.check()
                return None

    def version(self, name: str) -> Version | None:
        """Return what changes whenever the file is replaced, or None if there is no such file."""
        with self._in_our_words():
            try:
                now = (self._root / name).stat()
            except FileNotFoundError:
                return None
            return now.st_dev, now.st_ino, now.st_mtime_ns, now.st_size

    def replace(
        self, name: str, data: bytes, *, still_right: Callable[[], bool] | None = None, is_new: bool = False
    ) -> bool:
        """
        Replace a file's content by *data*, whole or not at all. Return False if *still_right* says no at the last
        moment.

        *still_right* is called after the slow part. Between it and the rename no other writer, of any process or host,
        can replace or remove the file with a check of its own. A file that *is_new* needs no lock on most volumes,
        because of all that link the same name exactly one succeeds.
        """
        path = self._root / name
        with self._in_our_words(), self._beside(path) as temporary:
            self._files.write(temporary, data, self._folders.file_mode)
            if still_right is None:
                self._files.rename(temporary, path)
                return True
            if is_new and still_right() and self._links(temporary, path):
                return True
            with self._lock(path.name).held():
                if replacing := still_right():
                    self._files.rename(temporary, path)
            return replacing

    def _links(self, source: Path, target: Path) -> bool:
        """Give *source* the name *target*. Return False if another file has it, or the volume knows no links."""
        try:
            self._files.link(source, target)
        except OSError:
            return source.stat().st_nlink > 1  # a network volume may have done it, and its answer was lost
        return True

    def remove_leftovers(self) -> None:
        """Remove what processes left that were killed between two steps: files half written, and locks."""
        for name, age_s in self.ages_s(_UNFINISHED).items():
            if age_s > LEFTOVER_AFTER_S:
                self.remove(f"{_UNFINISHED}/{name}")
        for name, age_s in self.ages_s(_LOCKS).items():
            if age_s > LEFTOVER_AFTER_S:
                with self._in_our_words(), self._lock(name).held():
                    pass  # taken and released by the rules: another process may have just taken it anew

    def _lock(self, name: str) -> Lock:
        self._folders.make(self._root / _LOCKS)
        return Lock(self._root / _LOCKS / name, self._files, self._folders.file_mode, self._pause)

    def make(self, name: str, data: bytes = b"") -> bool:
        """
        Make a file with *data*. Return False if it already exists. Of all that try at once, exactly one gets True.

        The data follows the name: for a moment another process may find the file empty. Not synced: for marks.
        """
        path = self._root / name
        with self._in_our_words():
            self._folders.make(path.parent)
            try:
                self._files.make(path, data, self._folders.file_mode)
            except FileExistsError:
                return False
            return True

    def append(self, name: str, data: bytes) -> None:
        """Add *data* at the end of a file with one write."""
        path = self._root / name
        with self._in_our_words():
            self._folders.make(path.parent)
            self._files.append(path, data, self._folders.file_mode)

    def overwrite(self, name: str, data: bytes) -> None:
        """
        Write *data* over the file's content, which always has the same size. Not atomic and not synced: for marks.
        """
        path = self._root / name
        with self._in_our_words():
            self._folders.make(path.parent)
            self._files.overwrite(path, data, self._folders.file_mode)

    def remove(self, name: str, *, is_locked: bool = False) -> bool:
        """Remove a file; with *is_locked* never between another's check and rename. False if it is already gone."""
        path = self._root / name
        with self._in_our_words(), contextlib.ExitStack() as stack:
            if is_locked and path.exists():
                with contextlib.suppress(OSError):  # a full disk takes no lock, nor what others would write
                    stack.enter_context(self._lock(path.name).held())
            try:
                self._files.unlink(path)
            except FileNotFoundError:
                self._folders.check()
                return False
            return True

    def sizes(self, folder: str) -> dict[str, int]:
        """Return the name and size in bytes of each file of *folder*; empty if there is no such folder."""
        with self._in_our_words():
            try:
                with os.scandir(self._root / folder) as entries:
                    return {entry.name: found.st_size for entry in entries for found in _looked_at(entry)}
            except FileNotFoundError:
                self._folders.check()
                return {}

    def ages_s(self, folder: str) -> dict[str, float]:
        """Return name and age in seconds of the files of *folder*, by the clock that gave a new file its time."""
        with self._in_our_words():
            try:
                with os.scandir(self._root / folder) as listing:
                    entries = list(listing)
            except FileNotFoundError:
                self._folders.check()
                return {}
            return self._ages_s(entries) if entries else {}

    def make_folder(self) -> None:
        """Make the folder itself, for files that others write into it."""
        with self._in_our_words():
            self._folders.make(self._root)

    def _ages_s(self, entries: Iterable[os.DirEntry[str]]) -> dict[str, float]:
        with self._beside(self._root / "clock") as just_written:
            self._files.write(just_written, b"", self._folders.file_mode)
            now = just_written.stat().st_mtime
        return {entry.name: now - found.st_mtime for entry in entries for found in _looked_at(entry)}

    @contextmanager
    def _beside(self, path: Path) -> Iterator[Path]:
        """Give a temporary name in the same file system as *path*. Nothing stays under it in the end."""
        self._folders.make(path.parent)
        self._folders.make(self._root / _UNFINISHED)
        temporary = self._root / _UNFINISHED / f"{path.name}.{secrets.token_hex(8)}.tmp"
        try:
            yield temporary
        finally:
            # A failing disk may not let us remove it. The caller already gets that error.
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    @contextmanager
    def opened(self, name: str) -> Iterator[Callable[[int, int], bytes]]:
        """Open a file once for several reads of (start, size in bytes). Without a file, the reads return nothing."""
        with self._in_our_words():
            try:
                file = (self._root / name).open("rb")
            except FileNotFoundError:
                self._folders.check()
                yield lambda _start, _size_bytes: b""
                return
            with file:

                def read(start: int, size_bytes: int) -> bytes:
                    file.seek(start)
                    return file.read(size_bytes)

                yield read

    def size(self, name: str) -> int:
        """Return the size of a file in bytes, 0 if there is no such file."""
        with self._in_our_words():
            try:
                return (self._root / name).stat().st_size
            except FileNotFoundError:
                self._folders.check()
                return 0

    def names(self, folder: str) -> frozenset[str]:
        """Return the names in *folder*; empty if there is no such folder."""
        with self._in_our_words():
            try:
                return frozenset(path.name for path in (self._root / folder).iterdir())
            except FileNotFoundError:
                self._folders.check()
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
                hint="The worker must be able to make this folder and write in it; check WAN_OUT_DIR and the volume.",
            ) from error


def _looked_at(entry: os.DirEntry[str]) -> Iterator[os.stat_result]:
    """Yield what is known of a file, or nothing if another process removed it after the listing."""
    try:
        yield entry.stat()
    except FileNotFoundError:
        return
