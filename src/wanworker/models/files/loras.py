"""Find LoRA files by name, with their expert and their sibling."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wanworker.errors import ModelNotFound
from wanworker.recipes.table import STEP_LORAS
from wanworker.spec import Lora, RenderSpec
from wanworker.text.nearest import nearest_names
from wanworker.text.weight_names import below, having, meant

Expert = Literal["high", "low"]

#: "high" or "low" as a word of the name, "highnoise", "i2vHigh" and "highV2" among them; not in "slow" or "highlight".
_HALF = re.compile(r"(?:(?<![A-Za-z])|(?<=[a-z])(?=[HL]))((?i:high|low))(?=(?i:[-_. ]?noise|v\d)|[-_. ]|$)")
#: The same as a word that stands alone. Inside a name such as "KneeHigh" it may mean something else.
_HALF_ALONE = re.compile(r"(?<![a-z])(high|low)(?=[-_. ]?noise|[-_. ]|$)", re.IGNORECASE)
_SLASH = re.compile(r"[/\\]")
_FOLDER = "loras"
_SUFFIX = ".safetensors"
_MAX_DEPTH = 3


@dataclass(frozen=True, slots=True)
class LoraFile:
    """One file for one expert, with its strength; `name` is its path below the folder of LoRAs."""

    path: Path
    expert: Expert
    strength: float
    name: str = ""


def lora_files(places: Iterable[Path]) -> dict[str, Path]:
    """
    Return the LoRA files of each place, by their path below `loras` (`style/a.safetensors`).

    They are looked for in `loras` of each place and in `loras` beside it. If two places have the same path, the first
    place wins.
    """
    found: dict[str, Path] = {}
    for place in places:
        folder = place / _FOLDER
        inside = [
            path for depth in range(_MAX_DEPTH) for path in folder.glob("/".join(["*"] * depth + [f"*{_SUFFIX}"]))
        ]
        for path in (*sorted(inside), *sorted(place.glob(f"*{_SUFFIX}"))):
            if path.is_file():
                name = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name
                found.setdefault(name, path)
    return found


def resolve(name: str, known: Iterable[str]) -> str:
    """
    Return the file that *name* means: the whole name, without folder or ending, or a part that only one file has.

    A folder in *name* must match. Raises ModelNotFound naming the nearest files, or all that *name* could mean. Pure.
    """
    names = sorted(known)
    asked = below(_FOLDER, name)
    found = meant(asked, names) or having(asked, names)
    if len(found) == 1 or is_pair(found):  # either half of a pair leads to the other
        return found[0]
    if found:
        raise ModelNotFound(f"LoRA {name[:120]!r} could be any of: {', '.join(found[:5])}.", field="lora_name")
    near = nearest_names(_bare(asked), [_bare(candidate) for candidate in names], cutoff=0.3)
    nearest = [candidate for one in dict.fromkeys(near) for candidate in names if _bare(candidate) == one]
    words = f" Nearest: {', '.join(nearest)}." if nearest else ""
    raise ModelNotFound(f"LoRA {name[:120]!r} was not found.{words}", field="lora_name")


def _bare(name: str) -> str:
    return name.lower().removesuffix(_SUFFIX)


def is_pair(names: Sequence[str]) -> bool:
    """Say whether *names* are the two halves of one pair, in one folder or in two named after the halves. Pure."""
    return len(names) == 2 and half_of(names[0]) is not None and names[1] in _siblings(names[0])


def half_of(name: str) -> Expert | None:
    """Return which expert a file is for, by its name, else by its folder's; None if neither says so. Pure."""
    for part in reversed(_SLASH.split(name)):
        if match := _HALF.search(part):
            return "high" if match[1].lower() == "high" else "low"
    return None


def sibling_of(name: str) -> str:
    """Return the name of the other half, in the same case and folder: high becomes low, low becomes high. Pure."""
    return _siblings(name)[0]


def other_half(name: str, known: Iterable[str]) -> str | None:
    """
    Return the other half of *name*: in its folder, in the sibling folder, or the only match anywhere. Pure.

    A file elsewhere whose own other half is beside it belongs to that one, which may be for another task.
    """
    names = list(known)
    for sibling in _siblings(name):
        for file in names:
            if file.lower() == sibling.lower():
                return file
    elsewhere = meant(_SLASH.split(sibling_of(name))[-1], names)
    is_another = half_of(name) is not None and len(elsewhere) == 1 and elsewhere[0] != name
    is_free = is_another and not {*_siblings(elsewhere[0])} & {*names}
    return elsewhere[0] if is_free else None


def _siblings(name: str) -> tuple[str, ...]:
    """Return *name* with its last word for a half swapped, and *name* with all of them swapped."""
    pieces = re.split(r"([/\\])", name)
    at = next((at for at in reversed(range(len(pieces))) if _HALF.search(pieces[at])), len(pieces) - 1)
    return "".join((*pieces[:at], _turned(pieces[at]), *pieces[at + 1 :])), "".join(map(_turned, pieces))


def _turned(text: str) -> str:
    return _HALF.sub(lambda match: _like(match[1], "low" if match[1].lower() == "high" else "high"), text)


def loras_for(
    spec: RenderSpec, known: Sequence[str] | dict[str, Path], *, experts: int
) -> tuple[list[tuple[str, Expert, float]], list[str]]:
    """
    Return (file name, expert, strength) for every LoRA of *spec*, and a line for everything inferred. Pure.

    `use_lora` without a name means the task's own few-step LoRA. Raises ModelNotFound when one is not in *known*.
    """
    asked = spec.loras or ((STEP_LORAS[spec.task],) if spec.use_lora else ())
    chosen: list[tuple[str, Expert, float]] = []
    warnings: list[str] = []
    for lora in asked:
        if experts == 1:
            chosen += _for_one_expert(lora, known, warnings)
        else:
            chosen += _for_two_experts(lora, known, warnings)
    if experts == 2:
        warnings += [
            f"LoRA {file} was used for the {expert}-noise expert, as asked; its name says {half_of(file)} noise."
            for file, expert, _ in chosen
            if half_of(file) not in {None, expert}
        ]
    return chosen, warnings


def _for_one_expert(lora: Lora, known: Iterable[str], warnings: list[str]) -> list[tuple[str, Expert, float]]:
    if lora.high and lora.low and lora.high != lora.low:
        warnings.append(f"LoRA {lora.low} was ignored: this model has one expert, and {lora.high} is used.")
    if lora.high:
        return [(resolve(lora.high, known), "high", lora.high_strength)]
    if lora.is_exact:
        warnings.append(f"LoRA {lora.low} was ignored: this model has no low-noise expert.")
        return []
    if lora.low:
        return [(resolve(lora.low, known), "high", lora.low_strength)]
    return []


def _for_two_experts(lora: Lora, known: Iterable[str], warnings: list[str]) -> list[tuple[str, Expert, float]]:
    high = resolve(lora.high, known) if lora.high else None
    low = resolve(lora.low, known) if lora.low else None
    only = high or low
    if only is None:
        return []
    if lora.is_exact:
        return [_for_named_expert(lora, only, known)]
    if high is None or low is None or high == low:
        high, low = _both_halves(only, known, warnings)
    return [(high, "high", lora.high_strength), (low, "low", lora.low_strength)]


def _for_named_expert(lora: Lora, file: str, known: Iterable[str]) -> tuple[str, Expert, float]:
    """Return *file* for the one expert that *lora* names. A name that fits both halves of a pair means its half."""
    expert: Expert = "high" if lora.high else "low"
    name, strength = (lora.high, lora.high_strength) if lora.high else (lora.low, lora.low_strength)
    if half_of(name or "") is None and half_of(file) not in {None, expert}:
        file = other_half(file, known) or file
    return file, expert, strength


def _both_halves(name: str, known: Iterable[str], warnings: list[str]) -> tuple[str, str]:
    half = half_of(name)
    sibling = other_half(name, known) if half else None
    if half is None or (sibling is None and not _HALF_ALONE.search(name)):
        warnings.append(f"LoRA {name} has neither high nor low as a word in its name, so it is used for both experts.")
        return name, name
    if sibling is None:
        raise ModelNotFound(
            f"LoRA {name} is the {half}-noise half of a pair; the other half, {sibling_of(name)}, was not found.",
            field="lora_name",
        )
    warnings.append(f"LoRA {sibling} was added: it is the other half of {name}.")
    return (name, sibling) if half == "high" else (sibling, name)


def _like(model: str, word: str) -> str:
    if model.isupper():
        return word.upper()
    return word.capitalize() if model[0].isupper() else word
