"""Choose the LoRA files of a graph: their experts, recipes and links. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from wanworker.comfyui.graph.api_format import Graph
from wanworker.engines.comfyui.graphs._wiring import inserted
from wanworker.engines.comfyui.graphs.choice.models import Available, Finder
from wanworker.engines.comfyui.graphs.choice.steps import Recipe
from wanworker.models.files.loras import STEP_PAIRS, Expert, half_of, loras_for, sibling_of
from wanworker.spec import Lora, RenderSpec

FOLDER = "loras"

#: What `use_lora` without a name means; ti2v-5B has a graph of its own for it. s2v and animate take LoRAs of their
#: relatives, as ComfyUI's own templates do.
STEP_LORAS: Mapping[str, str] = {
    **STEP_PAIRS,
    "s2v-14B": "wan2.2_t2v_lightx2v_4steps_lora_v1.1_high_noise.safetensors",
    "animate-14B": "lightx2v_I2V_14B_480p_cfg_step_distill_rank64_bf16.safetensors",
}

#: 1000, 937, 833 and 625 of 1000, which lightx2v's LoRAs were distilled for (wan.md 2.7).
_FOUR_STEPS = Recipe(steps=4, guidance=(1.0, 1.0), shift=5.0, sampler="euler", is_distilled=True)
#: The FastWAN service's settings (peers.md 2.3).
FASTWAN = Recipe(steps=8, guidance=(1.0, 1.0), shift=8.0, sampler="uni_pc", is_distilled=True)
_DISTILLED = ("lightx2v", "lightning", "4step", "distill")


@dataclass(frozen=True, slots=True)
class Chosen:
    """One LoRA of a graph: its file, the expert that it goes to (`high` where there is one) and its strength."""

    file: str
    expert: Expert
    strength: float


def choose(
    spec: RenderSpec, experts: Sequence[Expert], available: Available, models_dir: str, warnings: list[str]
) -> tuple[Chosen, ...]:
    """
    Return the LoRAs of *spec* for a graph with these *experts* (two, or one of them; `high` for a model without).

    Raises ModelNotFound with the documented sentence when one, or its other half, is not there.
    """
    finder = Finder(available, models_dir)
    asked = tuple(_found(lora, finder) for lora in _asked(spec))
    if len(experts) == 1 and spec.task in STEP_PAIRS:
        return tuple(found for lora in asked if (found := _for_one_of_two(lora, experts[0], finder, warnings)))
    for lora in asked if len(experts) == 2 else ():
        _require_sibling(lora, finder)
    named = dataclasses.replace(spec, loras=asked, use_lora=False)
    chosen, remarks = loras_for(named, finder.files(FOLDER), experts=len(experts))
    warnings += remarks
    return tuple(Chosen(*found) for found in chosen)


def recipe_with(files: Iterable[str], recipe: Recipe) -> Recipe:
    """Return how to sample with these models and LoRAs: a distilled one sets steps, guidance, shift and sampler."""
    names = [name.lower() for name in files]
    if any("fastwan" in name for name in names):
        return FASTWAN
    return _FOUR_STEPS if any(word in name for name in names for word in _DISTILLED) else recipe


def with_loras(graph: Graph, loras: Sequence[Chosen], models: Mapping[Expert, str]) -> Graph:
    """Return the graph with a loader for each of *loras* after the model (*models*: expert -> title) that it is for."""
    last = dict(models)
    for number, lora in enumerate(loras, 1):
        title = f"LoRA {number} of {models[lora.expert]}"
        inputs = {"lora_name": lora.file, "strength_model": lora.strength}
        graph = inserted(graph, last[lora.expert], title, "LoraLoaderModelOnly", "model", inputs)
        last[lora.expert] = title
    return graph


def _asked(spec: RenderSpec) -> tuple[Lora, ...]:
    if spec.loras or not spec.use_lora or spec.task not in STEP_LORAS:
        return spec.loras
    return (Lora(high=STEP_LORAS[spec.task], low=_other_half(spec.task)),)


def _other_half(task: str) -> str | None:
    return sibling_of(STEP_PAIRS[task]) if task in STEP_PAIRS else None


def _found(lora: Lora, finder: Finder) -> Lora:
    """Return *lora* with its files' full names."""
    high, low = (finder.named(FOLDER, name) if name else None for name in (lora.high, lora.low))
    return dataclasses.replace(lora, high=high, low=low)


def _require_sibling(lora: Lora, finder: Finder) -> None:
    only = lora.high or lora.low
    if only is not None and (not (lora.high and lora.low) or lora.high == lora.low) and half_of(only) is not None:
        finder.sibling(FOLDER, only)


def _for_one_of_two(lora: Lora, expert: Expert, finder: Finder, warnings: list[str]) -> Chosen | None:
    """Return the half of *lora* for the one *expert* that takes part, looked for beside the half that is named."""
    name, strength = (lora.high, lora.high_strength) if expert == "high" else (lora.low, lora.low_strength)
    named = name or lora.high or lora.low
    if named is None:
        return None
    if half_of(named) in {None, expert}:
        return Chosen(named, expert, strength)
    sibling = finder.sibling(FOLDER, named)
    warnings.append(f"LoRA {sibling} was used for {named}: the {expert}-noise expert renders alone.")
    return Chosen(sibling, expert, strength)
