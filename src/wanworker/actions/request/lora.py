"""One LoRA of a request."""

from __future__ import annotations

from pydantic import Field

from wanworker.actions.request.fields import Request, Strength
from wanworker.errors import InvalidRequest
from wanworker.spec import Lora


class LoraField(Request):
    """One LoRA, or a pair for the two experts, by file name."""

    high: str | None = Field(default=None, description="File for the high-noise expert.")
    low: str | None = Field(default=None, description="File for the low-noise expert.")
    strength: Strength = Field(default=1.0, description="Strength of both halves.")
    high_strength: Strength | None = Field(default=None, description="Strength of the high half.")
    low_strength: Strength | None = Field(default=None, description="Strength of the low half.")

    def to_lora(self) -> Lora:
        """Return the pair with its strengths. Raises InvalidRequest when it names no file."""
        if not (self.high or self.low):
            raise InvalidRequest("loras: each entry needs a file name in high, low or both.", field="loras")
        high = self.strength if self.high_strength is None else self.high_strength
        low = self.strength if self.low_strength is None else self.low_strength
        return Lora(self.high, self.low, high, low)
