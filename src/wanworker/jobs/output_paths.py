"""Name a job's files in the output folder, while they are made and afterwards, so that no two jobs share one."""

from __future__ import annotations

import contextlib
import itertools
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from wanworker.errors import InvalidRequest, RequestIdReused
from wanworker.jobs.model import Job
from wanworker.jobs.store.file_calls import FileCalls

#: The documented ending of a render's file name, after the request id, for each action.
SUFFIXES: Mapping[str, str] = {"generate": ".mp4", "comfyui_i2v": "_i2v_output.mp4"}

#: No request id may end like this, in upper or lower case: some volumes do not tell `a` from `A`.
_RESERVED = tuple(ending for suffix in SUFFIXES.values() if (ending := suffix.removesuffix(".mp4").lower()))

_FILES = FileCalls()


def check_own_name(request_id: str) -> None:
    """Raise InvalidRequest for a request id whose files could get the names of another job's files."""
    for ending in _RESERVED:
        if request_id.lower().endswith(ending):
            raise InvalidRequest(
                f"request_id may not end in {ending!r}, the ending of another action's files; got {request_id[:80]!r}.",
                hint="Choose another request_id.",
                field="request_id",
            )


def would_overwrite(request_id: str, path: Path) -> RequestIdReused:
    """Return the refusal of a job whose file another job has at *path*."""
    return RequestIdReused(f"request_id {request_id!r} would overwrite {path}, which another job made.")


@dataclass(frozen=True, slots=True)
class Placed:
    """Hold the final name of a file, and what tells it from a file that another attempt puts there later."""

    path: Path
    device: int
    inode: int

    def remove(self) -> None:
        """Remove the file, if it is still this one. Blocks. Raises OSError."""
        with contextlib.suppress(FileNotFoundError):
            now = self.path.stat()
            if (now.st_dev, now.st_ino) == (self.device, self.inode):
                self.path.unlink()


@dataclass(frozen=True, slots=True)
class OutputPaths:
    """
    Name a job's files: flat in *out_dir*, beginning with the request id.

    `suffix` completes the name of a render's one file. A graph's files have a number between dots before their ending
    (`a_clip.1.png`). A request id has no dot, and a render's second file has the number 2 alone (`a.2.mp4`), so a
    graph's file never gets the name of a render's; and if two graphs' files would share a name, the second gets another
    number (`a_clip.2.png`, `a_clip.1.2.mp4`). Until a file is verified it is hidden in the same folder, under a name of
    this attempt.
    """

    out_dir: Path
    request_id: str
    attempt: int
    suffix: str

    def numbered(self, number: int) -> OutputPaths:
        """Return the place of the job's output *number*, from 1. The first has the name of an only one: `a.2.mp4`."""
        return self if number == 1 else replace(self, suffix=f"{self.suffix.removesuffix('.mp4')}.{number}.mp4")

    @property
    def name(self) -> str:
        """Return the name of this output, the same in every attempt: `a`, and `a.2` for the second of several."""
        return self.final(self.suffix).stem

    @property
    def part(self) -> Path:
        """Return the hidden name that a file or a folder has until it is verified."""
        return self.out_dir / f".{self.request_id}-{self.attempt}.part.mp4"

    @property
    def half_made(self) -> tuple[Path, ...]:
        """Return all hidden names that this attempt uses; a writer adds `.part` until its file is complete."""
        return tuple(path.with_name(f"{path.name}{more}") for path in (self.part, self.spare) for more in ("", ".part"))

    @property
    def spare(self) -> Path:
        """Return the hidden name of a file that will take the place of `part`."""
        return self.part.with_suffix(".spare.mp4")

    def final(self, suffix: str) -> Path:
        """Return the name that a verified file gets."""
        return self.out_dir / f"{self.request_id}{suffix}"

    def put(self, part: Path, files: FileCalls = _FILES) -> Placed:
        """
        Give the verified file *part* of a render its name, also in place of what an earlier attempt left there.

        Blocks. Raises RequestIdReused if another job took that name during the render, and OSError.
        """
        placed = _placed(part, self.final(self.suffix))
        if not _takes_name(part, placed.path, files):
            if self.attempt == 1:
                raise would_overwrite(self.request_id, placed.path)
            files.rename(part, placed.path)
        return placed

    def put_graph_file(self, part: Path, name: str, files: FileCalls = _FILES) -> Placed:
        """Give the verified file *part* of a graph, which calls it *name*, a free name. Blocks. Raises OSError."""
        for final in self._graph_names(name):
            placed = _placed(part, final)
            if _takes_name(part, final, files):
                return placed
        raise AssertionError("every number is taken")

    def _graph_names(self, name: str) -> Iterator[Path]:
        """Yield names for a graph's file, one after the other. None of them is a render's, such as `a_b.2.mp4`."""
        stem, suffix = Path(name).stem, Path(name).suffix
        yield self.final(f"_{stem}.1{suffix}")
        first = ".1" if suffix.lower() == ".mp4" else ""
        for number in itertools.count(2):
            yield self.final(f"_{stem}{first}.{number}{suffix}")


def _placed(part: Path, final: Path) -> Placed:
    found = part.stat()
    return Placed(final, found.st_dev, found.st_ino)


def _takes_name(part: Path, final: Path, files: FileCalls) -> bool:
    """
    Rename *part* to *final*. Return False if another file has that name; of all that want it, exactly one gets it.

    A second link shows the whole file at once and needs no room, so it is tried first. Where links are unknown, the
    name is first taken by an empty file.
    """
    try:
        files.link(part, final)
    except OSError as error:
        if not _are_same(part, final):  # a network volume may have done it, and its answer was lost
            return not isinstance(error, FileExistsError) and _reserved_and_renamed(part, final, files)
    with contextlib.suppress(OSError):  # who made it removes it too
        files.unlink(part)
    return True


def _are_same(part: Path, final: Path) -> bool:
    try:
        return final.samefile(part)
    except OSError:
        return False


def _reserved_and_renamed(part: Path, final: Path, files: FileCalls) -> bool:
    try:
        files.make(final)
    except FileExistsError:
        return False
    try:
        files.rename(part, final)
    except OSError:
        with contextlib.suppress(OSError):  # a disk that has become read-only keeps it
            files.unlink(final)
        raise
    return True


def remove_half_made(out_dir: Path, job: Job) -> None:
    """Remove what the attempt of *job*, whose worker was killed, has left in *out_dir*. Blocks, and never raises."""
    for path in OutputPaths(out_dir, job.request_id, job.attempt, "").half_made:
        with contextlib.suppress(OSError):  # a disk that has become read-only keeps it
            remove_part(path)


def remove_part(part: Path) -> None:
    """Remove a half-made file, or folder of files, if it is there. Blocks. Raises OSError."""
    if part.is_dir():
        shutil.rmtree(part, ignore_errors=True)
    else:
        part.unlink(missing_ok=True)
