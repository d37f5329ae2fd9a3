"""The LoRAs of a request, under the names that people use for their parts elsewhere."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from wanworker.actions.request.fields import Request, Strength
from wanworker.errors import InvalidRequest
from wanworker.spec import Lora

#: The fields that list the LoRAs of one expert each.
HIGH_FIELD, LOW_FIELD = "high_noise_loras", "low_noise_loras"

#: Names of a LoRA's file in ComfyUI's nodes, in diffusers and at hosted services: one file, or one half of a pair.
_FILE_WORDS = ("name", "path", "file", "filename", "lora", "lora_name", "lora_path", "weight_name")

#: What may follow `high` and `low` in the name of the field for one half.
_HALF_WORDS = ("noise", "lora", "noise_lora", "name", "path")

#: How many LoRAs, or pairs of them, a request takes.
MOST_LORAS = 8

#: Names of the strength of a LoRA, or of one half. `alpha` is not among them: it is set in training.
_WORDS = ("strength", "weight", "scale")
_STRENGTH_WORDS = (
    "weight", "scale", "lora_strength", "lora_weight", "lora_scale", "strength_model", "model_strength", "multiplier",
)  # fmt: skip

_URL = re.compile(r"\s*[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def _aliases() -> dict[str, str]:
    names = dict.fromkeys(_FILE_WORDS, "high") | dict.fromkeys(_STRENGTH_WORDS, "strength")
    for half in ("high", "low"):
        strengths = [name for word in _WORDS for name in (f"{half}_{word}", f"{half}_noise_{word}", f"{word}_{half}")]
        names |= {f"{half}_{word}": half for word in _HALF_WORDS} | {f"lora_{half}": half}
        names |= {name: f"{half}_strength" for name in strengths if name != f"{half}_strength"}
    return names


_ALIASES: Mapping[str, str] = _aliases()


class LoraField(Request):
    """Hold one LoRA, or a pair of files for the two experts."""

    high: str | None = Field(default=None, description="File for the high-noise expert.")
    low: str | None = Field(default=None, description="File for the low-noise expert.")
    strength: Strength = Field(default=1.0, description="Strength of both halves.")
    high_strength: Strength | None = Field(default=None, description="Strength of the high half.")
    low_strength: Strength | None = Field(default=None, description="Strength of the low half.")

    @classmethod
    def aliases(cls) -> Mapping[str, str]:
        """Return other spellings. A single file counts as the high half, whose sibling is inferred."""
        return _ALIASES

    @classmethod
    def field_of_text(cls) -> str | None:
        """Return the field that a LoRA given as a bare text fills."""
        return "high"

    def names(self) -> list[str]:
        """Return the files that are named, one or one for each expert."""
        return [name for name in (self.high, self.low) if name and name.strip()]

    def is_single(self) -> bool:
        """Say whether it is one file with one strength, as `lora_name` and `lora_strength` say it."""
        return self.high is not None and self.low is None and self.high_strength is None and self.low_strength is None

    def plainly(self) -> LoraField:
        """Return the same LoRA in the form that is the same for every spelling of it."""
        high, low = (self.strength if own is None else own for own in (self.high_strength, self.low_strength))
        strength = high if high == low else 1.0
        files = {name: (getattr(self, name) or "").strip() or None for name in ("high", "low")}
        halves = {"high_strength": high, "low_strength": low}
        return self.model_copy(
            update={
                **files,
                "strength": strength,
                **{name: None if value == strength else value for name, value in halves.items()},
            }
        )

    def to_lora(self) -> Lora:
        """Return the pair with its strengths. Raises InvalidRequest if it names no file, or a file by URL."""
        names = self.names()
        if not names:
            raise InvalidRequest("loras: each entry needs a file name in high, low or both.", field="loras")
        for name in names:
            check_lora_name(name, "loras")
        high = self.strength if self.high_strength is None else self.high_strength
        low = self.strength if self.low_strength is None else self.low_strength
        return Lora(self.high, self.low, high, low)


class LoraRequest(Request):
    """Define the fields that list LoRAs, alike in every request that takes some."""

    loras: tuple[LoraField, ...] = Field(default=(), max_length=MOST_LORAS, description="LoRAs as high/low pairs.")
    high_noise_loras: tuple[LoraField, ...] = Field(
        default=(), max_length=MOST_LORAS, description="LoRAs of the high-noise expert alone: `[{path, scale}]`."
    )
    low_noise_loras: tuple[LoraField, ...] = Field(
        default=(), max_length=MOST_LORAS, description="LoRAs of the low-noise expert alone."
    )

    def listed_loras(self) -> tuple[Lora, ...]:
        """Return the LoRAs that are listed, as pairs or for one expert each. Raises InvalidRequest."""
        pairs = (entry.to_lora() for entry in self.loras)
        highs = (
            Lora(_one_file(entry, HIGH_FIELD), None, high_strength=entry.strength, is_exact=True)
            for entry in self.high_noise_loras
        )
        lows = (
            Lora(None, _one_file(entry, LOW_FIELD), low_strength=entry.strength, is_exact=True)
            for entry in self.low_noise_loras
        )
        return (*pairs, *highs, *lows)

    def plain_loras(self, *more: LoraField) -> dict[str, tuple[LoraField, ...]]:
        """Return the lists in the form that is the same for every spelling of them, *more* at the end of `loras`."""
        lists = {name: getattr(self, name) for name in LoraRequest.model_fields}
        lists["loras"] = (*self.loras, *more)
        return {name: tuple(entry.plainly() for entry in entries) for name, entries in lists.items()}

    def lora_fields(self) -> dict[str, Any]:
        """Return the fields that are set, in plain JSON values, as another request takes them."""
        named = self.model_dump(mode="json", include=set(LoraRequest.model_fields), exclude_none=True)
        return {name: entries for name, entries in named.items() if entries}


def _one_file(entry: LoraField, field: str) -> str:
    """Return the one file that *entry* names, by any of the words for a file."""
    has_more = entry.low or entry.high_strength is not None or entry.low_strength is not None
    if has_more or not entry.high or not entry.high.strip():
        message = f"{field}: each entry needs the name of one file as path, and may have a scale."
        raise InvalidRequest(message, hint="Pairs of files go into loras, as high and low.", field=field)
    check_lora_name(entry.high, field)
    return entry.high


def idle_strength(name: str | None, strength: float, field: str) -> list[str]:
    """Return a line if *field*, the strength of lora_name, was set although there is no such *name*."""
    if name or strength == 1:
        return []
    return [f"{field} was ignored: it is the strength of lora_name, which is missing."]


def check_lora_name(name: str, field: str) -> None:
    """Raise InvalidRequest, with *field*, if *name* is a URL: LoRAs must be files of the worker."""
    if _URL.match(name):
        given = name.partition("?")[0][:80]  # a query may hold a key
        message = f"{field}: a LoRA is named by its file in the models folder, not by a URL; got {given!r}."
        raise InvalidRequest(message, hint="First put the file into `loras` of the models folder.", field=field)
