"""Match a name of a weight file, with or without its folder, against the files that exist. Pure."""

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


class WeightPaths:
    """Look up names among the paths of many files. A look-up takes the same time however many files there are."""

    def __init__(self, files: Iterable[str]) -> None:
        self._files = frozenset(files)
        self._exact: dict[tuple[str, ...], list[str]] = {}
        self._lower: dict[tuple[str, ...], list[str]] = {}
        for file in sorted(self._files):
            parts = _parts(file)
            for key in {parts, _without_ending(parts)}:
                self._exact.setdefault(key, []).append(file)
                self._lower.setdefault(_lower(key), []).append(file)

    def same(self, name: str) -> list[str]:
        """
        Return the files whose whole path is *name*, or is *name* with other slashes or in other letter case.

        *name* may leave out the ending of a weight file. Several files are returned where only letter case tells them
        apart and none has the case of *name*.
        """
        if name in self._files:
            return [name]
        wanted = _parts(name)
        return self._exact.get(wanted) or self._lower.get(_lower(wanted)) or []


def meant(name: str, files: Iterable[str]) -> list[str]:
    """
    Return the *files* that *name* can mean: one if it is clear, several if it is ambiguous, none if none fits.

    A match of the whole path comes first (see `WeightPaths.same`), then a match of its end: `b/style` means
    `wan/b/style.safetensors`, and never `a/style.safetensors` or `style.safetensors`.
    """
    known = sorted(files)
    wanted = _parts(name)
    if not wanted:
        return []
    whole = WeightPaths(known).same(name)
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


def has_word(normal: str, word: str) -> bool:
    """Say whether *word* stands in *normal* (in lower case) by itself, not as a part of another word."""
    return re.search(rf"(?<![a-z0-9]){re.escape(word)}(?![a-z0-9])", normal) is not None


def _parts(name: str) -> tuple[str, ...]:
    return tuple(part for part in name.strip().replace("\\", "/").split("/") if part not in {"", "."})


def _lower(parts: Sequence[str]) -> tuple[str, ...]:
    return tuple(part.lower() for part in parts)


def _without_ending(parts: tuple[str, ...]) -> tuple[str, ...]:
    last = PurePosixPath(parts[-1]) if parts else PurePosixPath()
    return (*parts[:-1], last.stem) if last.suffix.lower() in MODEL_SUFFIXES else parts


def _fits(wanted: tuple[str, ...], file: str, *, is_end: bool = False) -> bool:
    parts = _parts(file)
    if PurePosixPath(wanted[-1]).suffix.lower() not in MODEL_SUFFIXES:
        parts = _without_ending(parts)
    return (parts[-len(wanted) :] if is_end else parts) == wanted
