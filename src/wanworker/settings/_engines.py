"""Define which cards of this machine the engines use, a part of Settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator

#: How many miniatures or cards one worker takes at most.
_MOST = 64

#: The distance between the ports of two ComfyUI servers: the port beside the first one's is the REST server's.
_PORT_STEP = 10
_LAST_PORT = 65_535


@dataclass(frozen=True, slots=True)
class Card:
    """
    Name one place where a job can render. *number* is that of the card as the worker sees it, or of the place on the
    processor (*is_cpu*). *place* counts the places of this worker from 0.

    *visible* is what the place's child processes see as CUDA_VISIBLE_DEVICES: one card, or with an empty text none.
    None leaves them what the worker sees itself. On the processor they have one thread each, unless OMP_NUM_THREADS is
    set.
    """

    number: int = 0
    visible: str | None = None
    is_cpu: bool = False
    place: int = 0

    def environment(self, kept: Mapping[str, str]) -> dict[str, str]:
        """Return *kept*, what a child process may see, for a child process on this card."""
        threads = {"OMP_NUM_THREADS": "1"} if self.is_cpu else {}
        # nvidia-smi, which gives the cards their numbers, counts them by their place; CUDA would by their speed.
        cards = (
            {} if self.visible is None else {"CUDA_VISIBLE_DEVICES": self.visible, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
        )
        return {**threads, **kept, **cards}


class EngineSettings(BaseModel):
    """Define the cards that the engines render on."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    gpus: str | None = Field(
        default=None,
        validation_alias="WAN_GPUS",
        description="The cards that render, a job on each: `all`, or their numbers such as `0,1`, counted as the "
        "worker sees them. `cpu:2` are two places on the processor, for the miniature. Default: one job at a time.",
    )
    _card: Card = PrivateAttr(default=Card())

    @field_validator("gpus", mode="before")
    @classmethod
    def _checked_gpus(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        text = re.sub(r"\s", "", value).lower().strip(",")
        if text in {"", "all"}:
            return text or None
        count = text.removeprefix("cpu:")
        if count != text and count.isdecimal() and 1 <= int(count) <= _MOST:
            return f"cpu:{int(count)}"
        numbers = text.split(",")
        if not all(number.isdecimal() and int(number) < _MOST for number in numbers):
            raise ValueError(f"write all, numbers such as 0,1, or cpu:N with N from 1 to {_MOST}")
        if len(set(map(int, numbers))) < len(numbers):
            raise ValueError("a card is named twice")
        return ",".join(str(int(number)) for number in numbers)

    @property
    def card(self) -> Card:
        """Return the card of the engine that these settings are for."""
        return self._card

    def on_card(self, card: Card) -> Self:
        """Return these settings for an engine on *card*: with the card, and a port of its own for ComfyUI."""
        first: int = getattr(self, "comfyui_port", 0)
        away = _PORT_STEP * card.place
        port = first + away if first + away <= _LAST_PORT else first - away
        copy = self.model_copy(update={"comfyui_port": port} if card.place else {})
        copy._card = card
        return copy
