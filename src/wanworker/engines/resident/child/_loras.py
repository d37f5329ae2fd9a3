"""Load LoRA files into a pipeline, keep them for the next job that names them, and unload them otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wanworker.engines.resident.protocol import Adapter, Expert
from wanworker.errors import EngineUnavailable, InvalidRequest

_COMPONENTS: dict[Expert, str] = {"high": "transformer", "low": "transformer_2"}


class Adapters:
    """Know which LoRAs are in the weights now."""

    def __init__(self) -> None:
        self._loaded: tuple[tuple[str, Expert], ...] = ()

    def use(self, pipe: Any, wanted: Sequence[Adapter]) -> None:
        """
        Make *wanted*, and nothing else, take part in the next run of *pipe*.

        Raises InvalidRequest when a file holds no LoRA for this model, EngineUnavailable without peft; no LoRA is in
        then.
        """
        files = tuple((adapter.path, adapter.expert) for adapter in wanted)
        if files != self._loaded:
            self._unload(pipe)
            self._load(pipe, files)
        if files:
            _set_strengths(pipe, wanted)

    def _unload(self, pipe: Any) -> None:
        if self._loaded:
            self._loaded = ()
            pipe.unload_lora_weights()

    def _load(self, pipe: Any, files: tuple[tuple[str, Expert], ...]) -> None:
        if files:
            _require_peft()
        try:
            for index, (path, expert) in enumerate(files):
                _load_one(pipe, Path(path), expert, _name(index))
        except BaseException:
            if files:
                pipe.unload_lora_weights()
            raise
        self._loaded = files


def _load_one(pipe: Any, path: Path, expert: Expert, name: str) -> None:
    if getattr(pipe, _COMPONENTS[expert], None) is None:
        raise InvalidRequest(f"LoRA {path.name}: this model has no {expert}-noise expert.", field="lora_name")
    try:
        pipe.load_lora_weights(
            str(path.parent), weight_name=path.name, adapter_name=name, load_into_transformer_2=expert == "low"
        )
    except (ValueError, KeyError, RuntimeError) as error:
        words = " ".join(str(error).split())[:300]
        raise InvalidRequest(f"LoRA {path.name} does not fit this model: {words}", field="lora_name") from error
    # A file for another model loads with a warning and changes nothing.
    if name not in (getattr(getattr(pipe, _COMPONENTS[expert]), "peft_config", None) or {}):
        raise InvalidRequest(f"LoRA {path.name} holds no weights for this model.", field="lora_name")


def _set_strengths(pipe: Any, wanted: Sequence[Adapter]) -> None:
    for expert, component in _COMPONENTS.items():
        strengths = {_name(i): adapter.strength for i, adapter in enumerate(wanted) if adapter.expert == expert}
        if strengths:
            getattr(pipe, component).set_adapters(list(strengths), list(strengths.values()))


def _name(index: int) -> str:
    return f"lora_{index}"


def _require_peft() -> None:
    from diffusers.utils import is_peft_available

    if not is_peft_available():
        raise EngineUnavailable("LoRAs need the peft package.", hint="pip install peft")
