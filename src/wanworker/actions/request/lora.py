"""One LoRA of a request, under the names that people use for its parts elsewhere."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydantic import Field

from wanworker.actions.request.fields import Request, Strength
from wanworker.errors import InvalidRequest
from wanworker.spec import Lora

#: One file for both experts, or either half of a pair: ComfyUI's nodes, diffusers and the hosted services say these.
_FILE_WORDS = ("name", "path", "file", "filename", "lora", "lora_name", "lora_path", "weight_name")

#: What follows `high` and `low` in the names of a half's file.
_HALF_WORDS = ("noise", "lora", "noise_lora", "name", "path")

#: How strong a LoRA, or a half of it, is. (`alpha` is none of them: it is a number of its training.)
_WORDS = ("strength", "weight", "scale")
_STRENGTH_WORDS = ("weight", "scale", "lora_strength", "lora_weight", "lora_scale", "strength_model", "multiplier")

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
    """One LoRA, or a pair for the two experts, by file name."""

    high: str | None = Field(default=None, description="File for the high-noise expert.")
    low: str | None = Field(default=None, description="File for the low-noise expert.")
    strength: Strength = Field(default=1.0, description="Strength of both halves.")
    high_strength: Strength | None = Field(default=None, description="Strength of the high half.")
    low_strength: Strength | None = Field(default=None, description="Strength of the low half.")

    @classmethod
    def aliases(cls) -> Mapping[str, str]:
        """Return the other spellings: a single file is the high half, whose sibling is inferred."""
        return _ALIASES

    @classmethod
    def field_of_text(cls) -> str | None:
        """Return the field of a LoRA that is named by a text alone."""
        return "high"

    def to_lora(self) -> Lora:
        """Return the pair with its strengths. Raises InvalidRequest when it names no file, or one elsewhere."""
        names = [name for name in (self.high, self.low) if name and name.strip()]
        if not names:
            raise InvalidRequest("loras: each entry needs a file name in high, low or both.", field="loras")
        for name in names:
            check_lora_name(name, "loras")
        high = self.strength if self.high_strength is None else self.high_strength
        low = self.strength if self.low_strength is None else self.low_strength
        return Lora(self.high, self.low, high, low)


def check_lora_name(name: str, field: str) -> None:
    """Raise InvalidRequest, with *field*, for a name that is an address: LoRAs are files of the worker."""
    if _URL.match(name):
        message = f"{field}: a LoRA is named by its file in the models folder, not by a URL; got {name[:80]!r}."
        raise InvalidRequest(message, hint="Put the file below `loras` of the models folder first.", field=field)
