"""Find weight files that are truncated or invalid, from their first and last bytes. Loads no torch."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from wanworker.models.files.safetensors import BrokenSafetensors, check_header

_SAFETENSORS = frozenset({".safetensors", ".sft"})
_PICKLED = frozenset({".pth", ".pt", ".ckpt", ".bin"})

#: torch.save writes a zip file, which ends with its table of contents. Files of older versions cannot be checked.
_ZIP = b"PK\x03\x04"


@dataclass(frozen=True, slots=True)
class Damaged:
    """Name a file that no engine can read, and say what is wrong with it."""

    path: Path
    flaw: str


def flaw_of(path: Path) -> str:
    """Return what is wrong with the weight file at *path*, or an empty text if nothing is found. Raises OSError."""
    if path.suffix.lower() in _SAFETENSORS:
        try:
            check_header(path)
        except BrokenSafetensors as error:
            return str(error)
        return ""
    if path.suffix.lower() in _PICKLED:
        with path.open("rb") as stream:
            start = stream.read(len(_ZIP))
        if not start:
            return "the file is empty"
        if start == _ZIP and not zipfile.is_zipfile(path):
            return "the file is cut short"
    return ""


def damaged_in(folders: Iterable[Path]) -> tuple[Damaged, ...]:
    """Return the damaged weight files in *folders* and below them. A file with several links is named once."""
    seen: set[Path] = set()
    found = []
    for folder in folders:
        for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
            if path.suffix.lower() not in _SAFETENSORS | _PICKLED or path.is_dir() or path.resolve() in seen:
                continue
            seen.add(path.resolve())
            if flaw := _flaw_or_trouble(path):
                found.append(Damaged(path, flaw))
    return tuple(found)


def _flaw_or_trouble(path: Path) -> str:
    try:
        return flaw_of(path)
    except FileNotFoundError:
        return "the link leads nowhere"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
