"""Choose the weight files of a graph: those that the request names, or the best on the server. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from wanworker.comfyui.graph.object_info import nearest
from wanworker.errors import InvalidRequest, ModelNotFound
from wanworker.models.files.loras import Expert, half_of, is_pair, other_half, sibling_of
from wanworker.text.weight_names import SPECIAL_WORDS, below, has_word, having, meant

#: ComfyUI's folder of models -> the files in it, as its loaders name them (`sub/name.safetensors`).
Available = Mapping[str, Sequence[str]]

#: What the core's loaders read; a .gguf needs a custom node pack and another loader.
_LOADABLE = (".safetensors", ".sft", ".pt", ".pth", ".bin", ".ckpt")

#: The best first: fp8_scaled is what the documents name and what fits a 32 GB card.
_PRECISIONS = ("fp8_scaled", "fp8_e4m3fn_scaled", "fp16", "bf16", "fp8")


@dataclass(frozen=True, slots=True)
class Weights:
    """
    One weight file of a task: ComfyUI's folder, the documents' name for it, and the words that its name must have.

    `expert` is set where the task has two: the file has a sibling for the other one.
    """

    folder: str
    default: str
    words: tuple[str, ...]
    expert: Expert | None = None


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """
    The files that a request names; what it leaves out is chosen.

    `diffusion_models` has none, one (its sibling is inferred, unless `single_expert`) or both experts, in any order.
    """

    diffusion_models: tuple[str, ...] = ()
    vae: str | None = None
    text_encoder: str | None = None
    single_expert: bool = False


def choose(
    wanted: Mapping[str, Weights], choice: ModelChoice, available: Available, models_dir: str, warnings: list[str]
) -> dict[str, str]:
    """
    Return slot -> file for every slot of *wanted* that is rendered with.

    A slot of an expert that does not take part (`single_expert`, or a model that names neither half) is left out.
    Raises ModelNotFound with the documented sentence, InvalidRequest when the named models make no pair.
    """
    finder = Finder(available, models_dir)
    named = {"vae": choice.vae, "text_encoder": choice.text_encoder}
    models = {slot: weights for slot, weights in wanted.items() if weights.folder == "diffusion_models"}
    files = _diffusion_models(models, choice, finder, warnings)
    for slot, weights in wanted.items():
        if slot not in models:
            name = named.get(slot)
            files[slot] = finder.named(weights.folder, name) if name else finder.best(weights)
    return files


def missing(wanted: Iterable[Weights], available: Available, flaws: Mapping[str, Mapping[str, str]]) -> tuple[str, ...]:
    """Return a line for the weights of which no file is there; it names one of *flaws* (folder -> file -> flaw)."""
    return tuple(_lack(weights, flaws.get(weights.folder, {})) for weights in wanted if not _family(weights, available))


def _lack(weights: Weights, flaws: Mapping[str, str]) -> str:
    for name in _family(weights, {weights.folder: tuple(flaws)}):
        return f"{weights.folder}/{name} is damaged ({flaws[name]})"
    return f"{weights.folder}/{weights.default}"


def _diffusion_models(
    slots: Mapping[str, Weights], choice: ModelChoice, finder: Finder, warnings: list[str]
) -> dict[str, str]:
    names = [finder.named("diffusion_models", name) for name in choice.diffusion_models]
    for name in names:
        _warn_of_another_task(name, next(iter(slots.values())), warnings)
    experts = {weights.expert: slot for slot, weights in slots.items() if weights.expert}
    if not experts:
        if len(names) > 1:
            warnings.append(f"{names[1]} was ignored: this model has one expert, and {names[0]} is used.")
        return {slot: names[0] if names else finder.best(weights) for slot, weights in slots.items()}
    pair = _pair(names, slots, choice, finder, warnings)
    return {experts[half]: name for half, name in pair.items()}


def _pair(
    names: list[str], slots: Mapping[str, Weights], choice: ModelChoice, finder: Finder, warnings: list[str]
) -> dict[Expert, str]:
    """Return expert -> file; one expert only where the request wants one, or names a model that is no half."""
    if len(names) > 1:
        return _both(names)
    if not names:
        chosen = _unnamed_pair(slots, finder)
        return {"high": chosen["high"]} if choice.single_expert else chosen
    half = half_of(names[0])
    if half is None:
        warnings.append(f"{names[0]} says neither high nor low noise in its name; it renders all steps alone.")
        return {"high": names[0]}
    if choice.single_expert:
        warnings.append(f"single_expert: {names[0]} renders all steps alone, which is not how Wan 2.2 was trained.")
        return {half: names[0]}
    other: Expert = "low" if half == "high" else "high"
    sibling = finder.sibling("diffusion_models", names[0])
    warnings.append(f"diffusion model {sibling} was added: it is the {other}-noise half of {names[0]}.")
    return {half: names[0], other: sibling}


def _both(names: list[str]) -> dict[Expert, str]:
    first, second = names[:2]
    halves = (half_of(first), half_of(second))
    if len(names) > 2 or (halves[0] is not None and halves[0] == halves[1]):
        raise InvalidRequest(
            f"Wan 2.2 takes one high-noise and one low-noise model; got {', '.join(names)}.", field="diffusion_model"
        )
    if halves[0] == "low" or halves[1] == "high":
        first, second = second, first
    return {"high": first, "low": second}


def _unnamed_pair(slots: Mapping[str, Weights], finder: Finder) -> dict[Expert, str]:
    """Return the best high-noise file that has its sibling, else the best of each half."""
    by_half = {weights.expert: weights for weights in slots.values() if weights.expert}
    for high in finder.family(by_half["high"]):
        if half_of(high) and (low := other_half(high, finder.files("diffusion_models"))):
            return {"high": high, "low": low}
    return {"high": finder.best(by_half["high"]), "low": finder.best(by_half["low"])}


def _warn_of_another_task(name: str, weights: Weights, warnings: list[str]) -> None:
    """ComfyUI loads a model into the graph of another task without a word, and renders noise."""
    kinds = ("t2v", "i2v", "ti2v", "s2v", "animate", "animate2", "vace")
    ours = next((kind for kind in kinds if kind in weights.words), None)
    theirs = next((kind for kind in kinds if has_word(_normal(name), kind)), None)
    if theirs is not None and theirs != ours:
        warnings.append(f"{name} looks like a model for {theirs}, not for {ours}.")


class Finder:
    """Find files by name, family or sibling among those available."""

    def __init__(self, available: Available, models_dir: str) -> None:
        self._available = available
        self._models_dir = models_dir.rstrip("/")

    def files(self, folder: str) -> list[str]:
        """Return the folder's files that the core's loaders read."""
        return [name for name in self._available.get(folder, ()) if name.lower().endswith(_LOADABLE)]

    def family(self, weights: Weights) -> list[str]:
        return _family(weights, self._available)

    def best(self, weights: Weights) -> str:
        """Return the documents' file, else the best other of its family. Raises ModelNotFound."""
        found = self.family(weights)
        if not found:
            raise self.not_found(weights.folder, weights.default)
        return found[0]

    def named(self, folder: str, name: str) -> str:
        """Return the file that *name* means: itself, without its folder or ending, or a part of one name only."""
        files = self.files(folder)
        asked = below(folder, name)
        found = meant(asked, files) or having(asked, files)
        if len(found) == 1 or is_pair(found):  # either half leads to both
            return found[0]
        raise self.not_found(folder, name, found)

    def sibling(self, folder: str, name: str) -> str:
        """Return the other half of the pair of *name*. Raises ModelNotFound."""
        found = other_half(name, self.files(folder))
        if found is None:
            raise self.not_found(folder, sibling_of(name))
        return found

    def not_found(self, folder: str, name: str, could_be: Iterable[str] = ()) -> ModelNotFound:
        """Return the documented sentence, and as hint what is there and what was searched."""
        files = self.files(folder)
        parts = list(could_be)[:5]
        near = nearest(name, files)
        if parts:
            hint = f"It could be any of: {', '.join(parts)}."
        elif near:
            hint = f"Nearest in {folder}: {', '.join(near)}."
        else:
            hint = f"In {folder} there is: {', '.join(files[:8]) or 'no model file'}."
        searched = f"Searched: {folder}, as the ComfyUI server lists it."
        could = f": it could be any of {', '.join(parts)}" if parts else ""
        return ModelNotFound(f"Model '{name[:120]}' not found in {self._models_dir}/{could}", hint=f"{hint} {searched}")


def _family(weights: Weights, available: Available) -> list[str]:
    """Return the files that may stand for *weights*, the best first."""
    files = [name for name in available.get(weights.folder, ()) if name.lower().endswith(_LOADABLE)]
    return sorted((name for name in files if _is_of(weights, name)), key=lambda name: _rank(weights, name))


def _is_of(weights: Weights, name: str) -> bool:
    if _base(name) == weights.default:
        return True
    normal = _normal(name)
    others = (word for word in SPECIAL_WORDS if word not in weights.words)
    return all(has_word(normal, word) for word in weights.words) and not any(word in normal for word in others)


def _rank(weights: Weights, name: str) -> tuple[bool, int, str]:
    normal = _normal(name)
    precision = next((rank for rank, word in enumerate(_PRECISIONS) if word in normal), len(_PRECISIONS))
    return (_base(name) != weights.default, precision, name)


def _base(name: str) -> str:
    return name.replace("\\", "/").rpartition("/")[2]


def _normal(name: str) -> str:
    """Write a file's name as the documents do: lower case, `wan2.2` for `Wan2_2`, `animate2` for `Animate-2`."""
    named = re.sub(r"wan[_-]?(2)[._](\d)", r"wan\1.\2", _base(name).lower())
    return re.sub(r"animate[_-]?2(?!\d)", "animate2", named)
