"""Keep LoRA files beside a pipeline's weights for the next job that names them, and take them away otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from wanworker.engines.resident.child.lora.file import LoraChanges, read_lora
from wanworker.engines.resident.protocol import Adapter, Expert
from wanworker.errors import InvalidRequest

_COMPONENTS: dict[Expert, str] = {"high": "transformer", "low": "transformer_2"}


class _Key(NamedTuple):
    """One file for one expert; a file that was written again under its name is another one."""

    path: str
    expert: Expert
    size_bytes: int
    changed_ns: int


class Adapters:
    """Know which LoRAs hang in the models now. The models' own weights are never touched."""

    def __init__(self) -> None:
        self._attached: dict[_Key, LoraChanges] = {}

    def use(self, pipe: Any, wanted: Sequence[Adapter]) -> tuple[str, ...]:
        """
        Make *wanted*, and nothing else, take part in the next run of *pipe*; return what is to be said of the files.

        Only files that do not hang there already are read. Raises InvalidRequest when one does not fit this model;
        no LoRA is in then.
        """
        strengths: dict[_Key, float] = {}
        try:
            for adapter in wanted:
                key = _key(adapter)
                strengths[key] = strengths.get(key, 0.0) + adapter.strength
            self._detach(pipe, [key for key in self._attached if key not in strengths])
            for key, strength in strengths.items():
                self._attach(pipe, key)
                self._attached[key].set_strength(strength)
        except BaseException:
            self._detach(pipe, list(self._attached))
            raise
        return tuple(dict.fromkeys(line for changes in self._attached.values() for line in changes.remarks))

    def _attach(self, pipe: Any, key: _Key) -> None:
        if key in self._attached:
            return
        model = getattr(pipe, _COMPONENTS[key.expert], None)
        if model is None:
            name = Path(key.path).name
            raise InvalidRequest(f"LoRA {name}: this model has no {key.expert}-noise expert.", field="lora_name")
        changes = read_lora(Path(key.path), model)
        changes.attach(model)
        self._attached[key] = changes

    def _detach(self, pipe: Any, keys: Sequence[_Key]) -> None:
        for key in keys:
            self._attached.pop(key).detach(getattr(pipe, _COMPONENTS[key.expert]))


def _key(adapter: Adapter) -> _Key:
    try:
        facts = Path(adapter.path).stat()
    except OSError as error:
        name = Path(adapter.path).name
        raise InvalidRequest(f"LoRA {name} cannot be read: {error.strerror}.", field="lora_name") from error
    return _Key(adapter.path, adapter.expert, facts.st_size, facts.st_mtime_ns)
