"""The LoRAs of a request for a video, in the words of other servers, which want a name beside the path."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from wanworker.actions.request.lora import LoraField, check_lora_name
from wanworker.errors import InvalidRequest

#: The field that holds them, as its messages call it.
FIELD = "lora"

_PATHS = ("path", "local_path", "lora_path")
_NAMES = frozenset({"name", "lora_name"})
_NUMBERS = frozenset({"int_id", "lora_int_id"})


class VideoLora(LoraField):
    """Hold one LoRA, or a pair of files for the two experts."""

    @classmethod
    def aliases(cls) -> Mapping[str, str]:
        """Return other spellings, with that of a server that tells files of its own disk from others."""
        return {**super().aliases(), "local_path": "high"}

    @classmethod
    def needless(cls, given: Mapping[Any, Any]) -> Collection[str]:
        """Return the numbers that other servers want, and the name where a path says which file is meant."""
        has_path = any(str(given.get(name) or "").strip() for name in _PATHS)
        return _NUMBERS | _NAMES if has_path else _NUMBERS

    def says_something(self) -> bool:
        """Say whether there is more in it than empty texts."""
        given = (getattr(self, name) for name in self.model_fields_set)
        return any(value.strip() if isinstance(value, str) else value is not None for value in given)


def loras_of(given: Iterable[VideoLora]) -> list[dict[str, Any]] | None:
    """Return the LoRAs as `generate` takes them, None for none. Raises InvalidRequest, where it would, for *given*."""
    entries = [entry for entry in given if entry.says_something()]
    for entry in entries:
        names = entry.names()
        if not names:
            raise InvalidRequest("lora needs the name of a file in name.", field=FIELD)
        for name in names:
            check_lora_name(name, FIELD)
    return [entry.model_dump(mode="json", exclude_none=True) for entry in entries] or None
