"""Find the miniature's weights for each task, its sampling numbers and its vocabulary."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wanworker.spec import Size

FOLDER = Path(__file__).resolve().parent.parent / "mini"


@dataclasses.dataclass(frozen=True, slots=True)
class Pair:
    """Describe a LoRA for each expert of some tasks, and the numbers that both were made for."""

    high: Path
    low: Path
    tasks: tuple[str, ...]
    steps: int
    guidance: float
    shift: float


@dataclasses.dataclass(frozen=True, slots=True)
class Miniature:
    """
    Hold the content of `miniature.json` beside the weights.

    `sizes` (width, height) and `frames` are what it renders. `folders` names the folder of each task, in diffusers'
    layout. `steps`, `guidance` and `shift` are the defaults of a request. `things` are the words for what it can show.
    `pair` is the 4-step LoRA pair.
    """

    name: str
    sizes: tuple[Size, ...]
    frames: int
    steps: int
    guidance: float
    shift: float
    max_text_tokens: int
    folders: Mapping[str, str]
    things: frozenset[str] = frozenset()
    pair: Pair | None = None

    def nearest_size(self, asked: Size) -> Size:
        """Return the size with the nearest aspect. Of two that are equally near, it is the larger one."""
        return min(self.sizes, key=lambda size: (abs(size.aspect / asked.aspect - 1), -size.area))

    def folder_of(self, task: str) -> Path:
        """Return the folder of the weights that render *task*."""
        return FOLDER / self.folders[task]


@functools.cache
def miniature() -> Miniature:
    """Read the miniature's own description."""
    facts = json.loads((FOLDER / "miniature.json").read_text(encoding="utf-8"))
    pair = facts.get("pair")
    return Miniature(**{
        **facts,
        "sizes": tuple(Size(*each) for each in facts["sizes"]),
        "things": frozenset(facts.get("things", ())),
        "pair": _pair(**pair) if pair else None,
    })  # fmt: skip


def _pair(high: str, low: str, tasks: Sequence[str], **numbers: Any) -> Pair:
    return Pair(FOLDER / high, FOLDER / low, tuple(tasks), **numbers)


def unknown_words(prompt: str) -> list[str]:
    """Return the words of *prompt* that are not in the miniature's vocabulary, each once, in their order."""
    return [word for word in dict.fromkeys(_words(prompt)) if word not in _vocabulary()]


def names_a_thing(prompt: str) -> bool:
    """Say whether *prompt* has a word for a thing that the miniature can show, or for a colour of one."""
    return not miniature().things.isdisjoint(_words(prompt))


def _words(prompt: str) -> list[str]:
    """Split *prompt* as the miniature's tokenizer does: NFKC, lower case, runs of word characters."""
    return re.findall(r"\w+", unicodedata.normalize("NFKC", prompt).lower())


@functools.cache
def _vocabulary() -> frozenset[str]:
    # Every folder has the same vocabulary.
    folder = FOLDER / next(iter(miniature().folders.values()))
    tokenizer = json.loads((folder / "tokenizer" / "tokenizer.json").read_text(encoding="utf-8"))
    return frozenset(tokenizer["model"]["vocab"])
