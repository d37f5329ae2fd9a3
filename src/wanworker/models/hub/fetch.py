"""Plan and run the download of a weight set: which files exist, which to fetch, and the disk space."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from wanworker.errors import DiskFull
from wanworker.models.files.safetensors import BrokenSafetensors, check_header
from wanworker.models.hub._transfer import Source, digest_of, part_bytes, transfer
from wanworker.models.hub.api import FetchFailed, HubFile
from wanworker.models.hub.catalogue import Preset

#: This much space is left free after a fetch, for example for videos.
SPARE_BYTES = 1_000_000_000


class Repository(Source, Protocol):
    """Define what a fetch needs of a hub: the list of a repository's files, and their bytes."""

    def files(self, repository: str) -> Mapping[str, HubFile]:
        """Return the files of *repository* by path."""


@dataclass(frozen=True, slots=True)
class Step:
    """
    Describe one file of a preset, and where it goes.

    `held` is where a complete copy already is, or None. `part_bytes` is what an earlier try left. `replaces` says in
    words what is wrong with the file that is at its place.
    """

    file: HubFile
    target: Path
    held: Path | None = None
    part_bytes: int = 0
    replaces: str = ""

    @property
    def left_bytes(self) -> int:
        """Return how many bytes are still missing."""
        return 0 if self.held else self.file.size_bytes - self.part_bytes


@dataclass(frozen=True, slots=True)
class Plan:
    """Hold every file of a preset. `models_dir` is where the missing ones go."""

    preset: Preset
    models_dir: Path
    steps: tuple[Step, ...]

    @property
    def to_fetch(self) -> tuple[Step, ...]:
        """Return the files that are missing."""
        return tuple(step for step in self.steps if step.held is None)

    @property
    def size_bytes(self) -> int:
        """Return the size of all files."""
        return sum(step.file.size_bytes for step in self.steps)

    @property
    def left_bytes(self) -> int:
        """Return how many bytes are still missing."""
        return sum(step.left_bytes for step in self.steps)


def plan(
    preset: Preset,
    hub: Repository,
    models_dir: Path,
    *,
    elsewhere: Callable[[str], Iterable[Path]],
    folders: Iterable[Path] = (),
    verify: bool = False,
) -> Plan:
    """
    Return what has to be done to fetch *preset* into *models_dir*. Asks the hub and writes nothing.

    *elsewhere* returns other places where the engine would find a single file (such as `vae/wan_2.1_vae.safetensors`);
    *folders* are other places of a whole repository. A file counts as present if it has the hub's size and, for
    safetensors, a complete header; with *verify* its hash is checked too. Raises FetchFailed if the hub lacks a file
    that the catalogue names.
    """
    listings = {name: hub.files(name) for name in preset.repositories}
    if preset.tree is None:
        wanted = [(_listed(listings[file.repository], file.path), file.target) for file in preset.files]
        steps = [_step(file, models_dir / target, elsewhere(target), verify) for file, target in wanted]
        return Plan(preset, models_dir, tuple(steps))
    paths = [file for file in listings[preset.tree.repository].values() if preset.tree.wants(file.path)]
    if not paths:
        raise FetchFailed(f"{preset.tree.repository} has no files.")
    for folder in (*folders, models_dir / preset.tree.folder):
        steps = [_step(file, folder / file.path, (), verify) for file in paths]
        if all(step.held for step in steps):
            break
    return Plan(preset, models_dir, tuple(steps))


def check_space(wanted: Plan, free_bytes: int) -> None:
    """Raise DiskFull if *free_bytes* are too few for *wanted*. Nothing has been written by then. Pure."""
    if wanted.left_bytes and free_bytes < wanted.left_bytes + SPARE_BYTES:
        raise DiskFull(
            f"{wanted.preset.name} needs {in_words(wanted.left_bytes)} in {wanted.models_dir} and "
            f"{in_words(SPARE_BYTES)} to spare; {in_words(free_bytes)} are free.",
            hint="Free some space, enlarge the volume, or fetch into another folder with --dir.",
        )


def free_on_disk(folder: Path) -> int:
    """Return the free bytes of the disk where *folder* is or will be."""
    existing = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    return shutil.disk_usage(existing).free


def carry_out(wanted: Plan, source: Source, *, report: Callable[[Step, int], None]) -> None:
    """
    Fetch what is missing, several blocks at a time. *report* gets each step and the bytes that have arrived so far.

    Raises FetchFailed and DiskFull. Files that are finished by then stay, and the next plan finds them.
    """
    came, step_of = 0, {step.target: step for step in wanted.to_fetch}

    def count(target: Path, number: int) -> None:
        nonlocal came
        came += number
        report(step_of[target], came)

    transfer(source, [(step.file, step.target) for step in wanted.to_fetch], count)


def in_words(size_bytes: int) -> str:
    """Return `14.3 GB`, `5.2 MB` or `310 B`: in powers of ten, as volumes are sold. Pure."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= size:
            return f"{size_bytes / size:.1f} {unit}"
    return f"{size_bytes} B"


def _listed(listing: Mapping[str, HubFile], path: str) -> HubFile:
    if path in listing:
        return listing[path]
    name = path.rpartition("/")[2]
    moved = [other for other in listing if other.endswith(f"/{name}")]
    repository = next(iter(listing.values())).repository if listing else "The repository"
    where = f"; {moved[0]} is" if moved else ""
    raise FetchFailed(f"{repository} has no {path}{where}. Update wanworker: its list of files is out of date.")


def _step(file: HubFile, target: Path, others: Iterable[Path], verify: bool) -> Step:
    for place in (target, *others):
        if place.is_file() and not _flaw(place, file, verify):
            return Step(file, target, held=place)
    replaces = _flaw(target, file, verify) if target.is_file() else ""
    return Step(file, target, part_bytes=part_bytes(target, file), replaces=replaces)


def _flaw(path: Path, file: HubFile, verify: bool) -> str:
    """Return in words how the file at *path* differs from the hub's; empty if it does not."""
    size = path.stat().st_size
    if size != file.size_bytes:
        return f"{size} bytes are there, but the hub has {file.size_bytes}"
    try:
        if path.suffix == ".safetensors":
            check_header(path)
    except BrokenSafetensors as error:
        return str(error)
    if verify and digest_of(path, file.digest) != file.digest:
        return "its hash is not the hub's"
    return ""
