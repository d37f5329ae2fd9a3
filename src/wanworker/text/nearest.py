"""Find the names that a misspelt one may mean, in bounded time. Pure."""

from __future__ import annotations

import difflib
import heapq
import re
from collections.abc import Iterable

#: A longer name is not a typing error, so no similar name is looked for.
_NAME_CHARS = 120

#: Comparing two names letter by letter takes up to a millisecond, so only this many are compared.
_COMPARED = 150
_PIECE_CHARS = 3
_MOST_PIECES = 24

#: How many of the nearest names may be the one that was misspelt, and how alike a misspelt word is to the word.
_LOOKED_AT = 8
_LIKE_WORDS = 0.75


def nearest_names(wanted: str, names: Iterable[str], *, most: int = 3, cutoff: float = 0.5) -> list[str]:
    """
    Return the *names* spelt most like *wanted*, best first, at most *most*.

    *cutoff* is the least likeness that counts, 0 to 1 (difflib's ratio). Upper and lower case differ. Of very many
    names, only those that share the most pieces with *wanted* are compared. Overlong names are skipped.
    """
    if not wanted or len(wanted) > _NAME_CHARS:
        return []
    candidates = [name for name in names if 0 < len(name) <= _NAME_CHARS]
    if len(candidates) > _COMPARED:
        candidates = _with_shared_pieces(wanted, candidates)
    return difflib.get_close_matches(wanted, candidates, n=most, cutoff=cutoff)


def misspelt(wanted: str, fields: Iterable[str]) -> str | None:
    """
    Return the one of *fields* that *wanted* misspells, None if it may well mean something else.

    The names are words joined by underscores. Each word counts, so `video_base64` is not `audio_base64` with an error,
    and `last_image_url` is not `image_url`. Only words at the end may be missing.
    """
    names = list(fields)
    near = dict.fromkeys(
        name for each in (wanted, wanted.lower()) for name in nearest_names(each, names, most=_LOOKED_AT)
    )
    return next((name for name in near if _misspells(wanted, name)), None)


def likeness(one: str, other: str) -> float:
    """Return how alike two names are, 0 to 1. It is 0 if one of them is too long to be compared."""
    if max(len(one), len(other)) > _NAME_CHARS:
        return 0.0
    return difflib.SequenceMatcher(None, one, other).ratio()


def _misspells(wanted: str, name: str) -> bool:
    if re.sub(r"[^a-z0-9]", "", wanted.lower()) == name.replace("_", "").lower() or name.startswith(f"{wanted}_"):
        return True
    words, others = wanted.split("_"), name.split("_")
    return len(words) == len(others) and all(map(_is_same_word, words, others))


def _is_same_word(word: str, other: str) -> bool:
    return likeness(word, other) >= _LIKE_WORDS or sorted(word) == sorted(other)  # two letters changed places


def _with_shared_pieces(wanted: str, names: list[str]) -> list[str]:
    step = max(1, len(wanted) // _MOST_PIECES)
    starts = range(0, max(1, len(wanted) - _PIECE_CHARS + 1), step)
    pieces = tuple(dict.fromkeys(wanted[start : start + _PIECE_CHARS] for start in starts))

    def score(name: str) -> tuple[int, int]:
        return sum(piece in name for piece in pieces), -abs(len(name) - len(wanted))

    return heapq.nlargest(_COMPARED, names, key=score)
