"""Match a name of a weight file, with or without its folder, against the files that exist. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

#: Endings of weight files, in every loader of ComfyUI's core and the common packs.
MODEL_SUFFIXES = frozenset({".safetensors", ".sft", ".ckpt", ".pt", ".pt2", ".pth", ".bin", ".gguf", ".onnx"})


def same_path(name: str, files: Iterable[str]) -> list[str]:
    """
    Return the *files* whose whole path is *name*, or is *name* with other slashes or in other letter case.

    *name* may leave out the ending of a weight file. Several files are returned where only letter case tells them apart
    and none has the case of *name*.
    """
    known = list(files)
    if name in known:
        return [name]
    wanted = _parts(name)
    exact = [file for file in known if wanted and _fits(wanted, file)]
    return exact or [file for file in known if wanted and _fits(_lower(wanted), file.lower())]


def meant(name: str, files: Iterable[str]) -> list[str]:
    """
    Return the *files* that *name* can mean: one if it is clear, several if it is ambiguous, none if none fits.

    A match of the whole path comes first (see `same_path`), then a match of its end: `b/style` means
    `wan/b/style.safetensors`, and never `a/style.safetensors` or `style.safetensors`.
    """
    known = sorted(files)
    wanted = _parts(name)
    if not wanted:
        return []
    whole = same_path(name, known)
    if whole == [name] or (whole and all(_fits(wanted, file) for file in whole)):
        return whole
    ends = {*whole, *(file for file in known if _fits(wanted, file, is_end=True))}
    return sorted(ends) or [file for file in known if _fits(_lower(wanted), file.lower(), is_end=True)]


def having(part: str, files: Iterable[str]) -> list[str]:
    """Return the *files* with *part* anywhere in their path, in any letter case."""
    wanted = "/".join(_parts(part)).lower()
    return [file for file in sorted(files) if wanted and wanted in "/".join(_parts(file)).lower()]


def below(folder: str, name: str) -> str:
    """Return *name* without the path to ComfyUI's *folder*, if it has one: `/models/loras/a` becomes `a`."""
    parts = _parts(name)
    if folder in parts[:-1]:
        return "/".join(parts[len(parts) - list(reversed(parts)).index(folder) :])
    return name.strip()


def _parts(name: str) -> tuple[str, ...]:
    return tuple(part for part in name.strip().replace("\\", "/").split("/") if part not in {"", "."})


def _lower(parts: Sequence[str]) -> tuple[str, ...]:
    return tuple(part.lower() for part in parts)


def _fits(wanted: tuple[str, ...], file: str, *, is_end: bool = False) -> bool:
    parts = _parts(file)
    if PurePosixPath(wanted[-1]).suffix.lower() not in MODEL_SUFFIXES:
        last = PurePosixPath(parts[-1])
        parts = (*parts[:-1], last.stem if last.suffix.lower() in MODEL_SUFFIXES else last.name)
    return (parts[-len(wanted) :] if is_end else parts) == wanted
