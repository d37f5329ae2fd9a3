"""Match the names of weight files, their folders included, with the files that are there. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

#: Endings of weight files, in every loader of ComfyUI's core and the common packs.
MODEL_SUFFIXES = frozenset({".safetensors", ".sft", ".ckpt", ".pt", ".pt2", ".pth", ".bin", ".gguf", ".onnx"})

#: Words of files that are made for other steps, inputs or loaders than their family: they are never chosen unnamed.
SPECIAL_WORDS = (
    "distill",
    "lightx2v",
    "lightning",
    "4step",
    "turbo",
    "rapid",
    "fast",
    "fun",
    "vace",
    "camera",
    "lora",
    "enc",
)


def same_path(name: str, files: Iterable[str]) -> list[str]:
    """
    Return the *files* whose whole path *name* is: itself, else with the other slash, else in other letters.

    The ending of a weight file may be left out of *name*. More than one is returned where letters alone tell them
    apart and *name* has those of none.
    """
    known = list(files)
    if name in known:
        return [name]
    wanted = _parts(name)
    exact = [file for file in known if wanted and _fits(wanted, file)]
    return exact or [file for file in known if wanted and _fits(_lower(wanted), file.lower())]


def meant(name: str, files: Iterable[str]) -> list[str]:
    """
    Return the *files* that *name* can mean: one where it is clear, several where it is not, none where none fits.

    The whole path comes first (see `same_path`), then the end of one: `b/style` is `wan/b/style.safetensors`, and never
    `a/style.safetensors` or `style.safetensors`.
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
    """Return the *files* with *part* anywhere in their path, in any letters."""
    wanted = "/".join(_parts(part)).lower()
    return [file for file in sorted(files) if wanted and wanted in "/".join(_parts(file)).lower()]


def below(folder: str, name: str) -> str:
    """Return *name* without what leads to ComfyUI's *folder*, where it says that: `/models/loras/a` is `a`."""
    parts = _parts(name)
    if folder in parts[:-1]:
        return "/".join(parts[len(parts) - list(reversed(parts)).index(folder) :])
    return name.strip()


def has_word(normal: str, word: str) -> bool:
    """Say whether *word* stands in *normal* (in lower case) by itself, not as a part of another word."""
    return re.search(rf"(?<![a-z0-9]){re.escape(word)}(?![a-z0-9])", normal) is not None


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
