"""Find the miniature's own LoRAs. Wan's LoRAs do not fit its weights, and its own fit no other model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from wanworker.errors import ModelNotFound
from wanworker.models.files.loras import LoraFile, loras_for
from wanworker.models.miniature.weights import Miniature
from wanworker.recipes.table import recipe_for
from wanworker.spec import Lora, RenderSpec


def own_loras(spec: RenderSpec, own: Miniature) -> tuple[tuple[LoraFile, ...], tuple[str, ...]]:
    """
    Return the files for both experts, and a line for everything that differs from the request.

    `use_lora` without a name, or with the name of one of Wan's few-step pairs, means the miniature's own 4-step pair.
    Any other name is ignored, unless it is one of the miniature's files. Reads no file.
    """
    if not (spec.use_lora or spec.loras):
        return (), ()
    if own.pair is None or spec.task not in own.pair.tasks:
        known = ", ".join(own.pair.tasks) if own.pair else "no task"
        return (), (f"use_lora was ignored: the miniature has LoRAs for {known}.",)
    files = {path.name: path for path in (own.pair.high, own.pair.low)}
    pair = Lora(high=own.pair.high.name, low=own.pair.low.name)
    chosen: list[LoraFile] = []
    warnings: list[str] = []
    for lora in spec.loras or (pair,):
        chosen += _meant(dataclasses.replace(spec, loras=(lora,)), files, pair, warnings)
    return tuple(chosen), tuple(warnings)


def _meant(spec: RenderSpec, files: Mapping[str, Path], pair: Lora, warnings: list[str]) -> list[LoraFile]:
    (lora,) = spec.loras
    names = [name for name in dict.fromkeys((lora.high, lora.low)) if name]
    said = ", ".join(names)
    if any(recipe_for(loras=[name]) and not _is_own(name, files) for name in names):
        warnings.append(f"LoRA {said}: the miniature's own 4-step pair is used instead.")
        spec = dataclasses.replace(spec, loras=(dataclasses.replace(lora, high=pair.high, low=pair.low),))
    try:
        found, lines = loras_for(spec, dict(files), experts=2)
    except ModelNotFound:
        warnings.append(f"LoRA {said} was ignored: it is made for Wan, not for the miniature.")
        return []
    warnings += lines
    return [LoraFile(files[name], expert, strength) for name, expert, strength in found]


def _is_own(name: str, files: Mapping[str, Path]) -> bool:
    wanted = name.strip().lower()
    return any(wanted in own.lower() for own in files)
