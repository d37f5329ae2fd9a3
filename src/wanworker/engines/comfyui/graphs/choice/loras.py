"""Choose the LoRA files of a graph: their experts, recipes and links. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wanworker.comfyui.graph.api_format import Graph
from wanworker.engines.comfyui.graphs._wiring import inserted
from wanworker.engines.comfyui.graphs.choice.models import Available, Finder
from wanworker.models.files.loras import Expert, half_of, loras_for
from wanworker.recipes.table import STEP_LORAS
from wanworker.spec import TASKS, Lora, RenderSpec

FOLDER = "loras"

#: ti2v-5B's few-step LoRA is a part of the graph that `use_lora` without a name takes.
_HAS_ITS_OWN_GRAPH = "ti2v-5B"


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
    if len(experts) == 1 and TASKS[spec.task].boundary is not None:
        return tuple(found for lora in asked if (found := _for_one_of_two(lora, experts[0], finder, warnings)))
    for lora in asked if len(experts) == 2 else ():
        _require_sibling(lora, finder)
    named = dataclasses.replace(spec, loras=asked, use_lora=False)
    chosen, remarks = loras_for(named, finder.files(FOLDER), experts=len(experts))
    warnings += remarks
    return tuple(Chosen(*found) for found in chosen)


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
    if spec.loras or not spec.use_lora or spec.task == _HAS_ITS_OWN_GRAPH:
        return spec.loras
    return (STEP_LORAS[spec.task],)


def _found(lora: Lora, finder: Finder) -> Lora:
    """Return *lora* with its files' full names."""
    high, low = (finder.named(FOLDER, name) if name else None for name in (lora.high, lora.low))
    return dataclasses.replace(lora, high=high, low=low)


def _require_sibling(lora: Lora, finder: Finder) -> None:
    only = None if lora.is_exact else lora.high or lora.low
    if only is not None and (not (lora.high and lora.low) or lora.high == lora.low) and half_of(only) is not None:
        finder.sibling(FOLDER, only)


def _for_one_of_two(lora: Lora, expert: Expert, finder: Finder, warnings: list[str]) -> Chosen | None:
    """Return the half of *lora* for the one *expert* that takes part, looked for beside the half that is named."""
    name, strength = (lora.high, lora.high_strength) if expert == "high" else (lora.low, lora.low_strength)
    if lora.is_exact and name is None:
        warnings.append(f"LoRA {lora.high or lora.low} was ignored: the {expert}-noise expert renders alone.")
        return None
    named = name or lora.high or lora.low
    if named is None:
        return None
    if lora.is_exact or half_of(named) in {None, expert}:
        return Chosen(named, expert, strength)
    sibling = finder.sibling(FOLDER, named)
    warnings.append(f"LoRA {sibling} was used for {named}: the {expert}-noise expert renders alone.")
    return Chosen(sibling, expert, strength)
