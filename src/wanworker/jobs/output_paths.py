"""Name a job's files in the output folder, while they are made and afterwards."""

from __future__ import annotations

import contextlib
import itertools
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from wanworker.errors import InvalidRequest
from wanworker.jobs.model import Job

#: The documented ending of a render's file name, after the request id, for each action.
SUFFIXES: Mapping[str, str] = {"generate": ".mp4", "comfyui_i2v": "_i2v_output.mp4"}

#: No request id may end like this, in upper or lower case: some volumes do not tell `a` from `A`.
_RESERVED = tuple(ending for suffix in SUFFIXES.values() if (ending := suffix.removesuffix(".mp4").lower()))


def check_own_name(request_id: str) -> None:
    """Raise InvalidRequest for a request id whose files could get the names of another job's files."""
    for ending in _RESERVED:
        if request_id.lower().endswith(ending):
            raise InvalidRequest(
                f"request_id may not end in {ending!r}, the ending of another action's files; got {request_id[:80]!r}.",
                hint="Choose another request_id.",
                field="request_id",
            )


@dataclass(frozen=True, slots=True)
class OutputPaths:
    """
    Name a job's files: flat in *out_dir*, beginning with the request id.

    `suffix` completes the name of a render's one file. A graph's files have a number between dots before their ending
    (`a_clip.1.png`). A request id has no dot, so a graph's file never gets the name of a render's; and if two graphs'
    files would share a name, the second gets another number. Until a file is verified it is hidden in the same folder,
    under a name of this attempt.
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

    def reserved(self, name: str, noted: list[Path]) -> Path:
        """Return a free name for a graph's file *name*, reserve it with an empty file, and add it to *noted*."""
        stem, suffix = Path(name).stem, Path(name).suffix
        for number in itertools.count(1):
            path = self.final(f"_{stem}.{number}{suffix}")
            with contextlib.suppress(FileExistsError):
                path.open("xb").close()
                noted.append(path)
                return path
        raise AssertionError("every number is taken")


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
