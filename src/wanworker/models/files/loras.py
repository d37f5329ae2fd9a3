"""Find LoRA files by name, with their expert and their sibling."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wanworker.errors import ModelNotFound
from wanworker.spec import Lora, RenderSpec
from wanworker.text.nearest import nearest_names

Expert = Literal["high", "low"]

#: lightx2v's 4-step pairs, one a task (wan.md 2.7); both halves are needed.
STEP_PAIRS = {
    "t2v-A14B": "wan2.2_t2v_lightx2v_4steps_lora_v1.1_high_noise.safetensors",
    "i2v-A14B": "wan2.2_i2v_lightx2v_4steps_lora_v1_high_noise.safetensors",
}

#: "high" or "low" as a word of the name, "highnoise" and "high_noise" among them, but not in "slow" or "highlight".
_HALF = re.compile(r"(?<![a-z])(high|low)(?=[-_. ]?noise|[-_. ]|$)", re.IGNORECASE)
_SUFFIX = ".safetensors"
_MAX_DEPTH = 3


@dataclass(frozen=True, slots=True)
class LoraFile:
    """One file for one expert, with its strength."""

    path: Path
    expert: Expert
    strength: float


def lora_files(places: Iterable[Path]) -> dict[str, Path]:
    """Return the LoRA files below `loras` of each place and beside it, by file name; the first place wins."""
    found: dict[str, Path] = {}
    for place in places:
        folder = place / "loras"
        below = [path for depth in range(_MAX_DEPTH) for path in folder.glob("/".join(["*"] * depth + [f"*{_SUFFIX}"]))]
        for path in (*sorted(below), *sorted(place.glob(f"*{_SUFFIX}"))):
            if path.is_file():
                found.setdefault(path.name, path)
    return found


def resolve(name: str, known: Iterable[str]) -> str:
    """
    Return the file name that *name* means: itself, itself without extension, or a part that only one file has.

    Raises ModelNotFound naming the nearest files, or those that it could be. Pure.
    """
    names = sorted(known)
    wanted = name.strip().lower().removesuffix(_SUFFIX)
    for candidate in names:
        if candidate.lower().removesuffix(_SUFFIX) == wanted:
            return candidate
    parts = [candidate for candidate in names if wanted and wanted in candidate.lower()]
    if len(parts) == 1:
        return parts[0]
    halves = {_HALF.sub("", candidate) for candidate in parts}
    if len(parts) == 2 and len(halves) == 1:  # the two halves of one pair: either leads to both
        return parts[0]
    if parts:
        raise ModelNotFound(f"LoRA {name[:120]!r} could be any of: {', '.join(parts[:5])}.", field="lora_name")
    near = nearest_names(wanted, [candidate.lower() for candidate in names], cutoff=0.3)
    nearest = [candidate for candidate in names if candidate.lower() in near]
    words = f" Nearest: {', '.join(nearest)}." if nearest else ""
    raise ModelNotFound(f"LoRA {name[:120]!r} was not found.{words}", field="lora_name")


def half_of(name: str) -> Expert | None:
    """Return the expert that a file name says it is for, None when it says neither. Pure."""
    match = _HALF.search(name)
    if match is None:
        return None
    return "high" if match[1].lower() == "high" else "low"


def sibling_of(name: str) -> str:
    """Return the name of the other half: high for low and low for high, in the same case. Pure."""
    return _HALF.sub(lambda match: _like(match[1], "low" if match[1].lower() == "high" else "high"), name)


def loras_for(
    spec: RenderSpec, known: Sequence[str] | dict[str, Path], *, experts: int
) -> tuple[list[tuple[str, Expert, float]], list[str]]:
    """
    Return (file name, expert, strength) for every LoRA of *spec*, and a line for everything inferred. Pure.

    `use_lora` without a name means the task's own 4-step pair. Raises ModelNotFound when one is not in *known*.
    """
    asked = spec.loras
    if spec.use_lora and not asked:
        if spec.task not in STEP_PAIRS:
            raise ModelNotFound(f"There is no 4-step LoRA for {spec.task}; name one in lora_name.", field="lora_name")
        asked = (Lora(high=STEP_PAIRS[spec.task], low=sibling_of(STEP_PAIRS[spec.task])),)
    chosen: list[tuple[str, Expert, float]] = []
    warnings: list[str] = []
    for lora in asked:
        if experts == 1:
            chosen += _for_one_expert(lora, known, warnings)
        else:
            chosen += _for_two_experts(lora, known, warnings)
    return chosen, warnings


def _for_one_expert(lora: Lora, known: Iterable[str], warnings: list[str]) -> list[tuple[str, Expert, float]]:
    if lora.high and lora.low and lora.high != lora.low:
        warnings.append(f"LoRA {lora.low} was ignored: this model has one expert, and {lora.high} is used.")
    if lora.high:
        return [(resolve(lora.high, known), "high", lora.high_strength)]
    if lora.low:
        return [(resolve(lora.low, known), "high", lora.low_strength)]
    return []


def _for_two_experts(lora: Lora, known: Iterable[str], warnings: list[str]) -> list[tuple[str, Expert, float]]:
    high = resolve(lora.high, known) if lora.high else None
    low = resolve(lora.low, known) if lora.low else None
    only = high or low
    if only is None:
        return []
    if high is None or low is None or high == low:
        high, low = _both_halves(only, known, warnings)
    return [(high, "high", lora.high_strength), (low, "low", lora.low_strength)]


def _both_halves(name: str, known: Iterable[str], warnings: list[str]) -> tuple[str, str]:
    half = half_of(name)
    if half is None:
        warnings.append(f"LoRA {name} says neither high nor low noise in its name; it goes to both experts.")
        return name, name
    sibling = sibling_of(name)
    if sibling not in known:
        raise ModelNotFound(
            f"LoRA {name} is the {half}-noise half of a pair; the other half, {sibling}, was not found.",
            field="lora_name",
        )
    warnings.append(f"LoRA {sibling} was added: it is the other half of {name}.")
    return (name, sibling) if half == "high" else (sibling, name)


def _like(model: str, word: str) -> str:
    if model.isupper():
        return word.upper()
    return word.capitalize() if model[0].isupper() else word
