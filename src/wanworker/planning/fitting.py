"""Choose the engine of a prepared spec, and fit the spec and its pictures to it."""

from __future__ import annotations

import asyncio
import dataclasses
from dataclasses import dataclass
from pathlib import Path

from wanworker.engines.choice import Choice, choose
from wanworker.engines.registry import HERE, EngineRegistry
from wanworker.errors import WorkerError
from wanworker.media.inputs.picture import crop_to_aspect
from wanworker.media.threads import in_thread
from wanworker.spec import GraphSpec, RenderSpec

#: The only engine that runs graphs.
_GRAPH_ENGINE = "comfyui"


@dataclass(frozen=True, slots=True)
class PreparedSpec:
    """Hold a spec whose files are on disk, and one line for each change that was made to the request."""

    spec: RenderSpec | GraphSpec
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fitted:
    """Hold what will be rendered, by which engine, and a line for each change so far."""

    engine: str
    spec: RenderSpec | GraphSpec
    warnings: tuple[str, ...]


class Fitting:
    """Choose among the engines of *registry*. *models_dir* is the models folder, for the documented message."""

    def __init__(self, registry: EngineRegistry, *, models_dir: str, mini_allowed: bool) -> None:
        self._registry = registry
        self._models_dir = models_dir
        self._mini_allowed = mini_allowed

    async def fitted(self, prepared: PreparedSpec, asked: str, work_dir: Path) -> Fitted:
        """
        Return *prepared* as it will be rendered. A graph always goes to ComfyUI. Cropped pictures go into *work_dir*.

        *asked* is `auto` or an engine's name. Raises InvalidRequest and ModelNotFound.
        """
        if isinstance(prepared.spec, GraphSpec):
            return Fitted(_GRAPH_ENGINE, prepared.spec, prepared.warnings)
        choice = await asyncio.to_thread(self._choose, prepared.spec, asked)
        spec, cropped = await _cropped(choice.spec, work_dir)
        return Fitted(choice.engine, spec, (*prepared.warnings, *choice.warnings, *cropped))

    async def place_of(self, draft: RenderSpec | None, asked: str) -> str:
        """
        Return the place where a job of *draft* will be rendered, as far as that can be known without its files.

        *draft* is None for a graph. A job that nothing can render has its place here, where it learns why.
        """
        places = self._registry.slots
        if len(places) == 1:
            return next(iter(places))
        try:
            if draft is None or asked != "auto":
                return self._registry.place_of(_GRAPH_ENGINE if draft is None else asked)
            choice = await asyncio.to_thread(self._choose, draft, asked)
        except WorkerError:
            return HERE
        return self._registry.place_of(choice.engine)

    def _choose(self, spec: RenderSpec, asked: str) -> Choice:
        if asked != "auto":
            self._registry.row(asked)
        return choose(
            spec,
            self._registry.rows,
            lambda name, _task: self._registry.readiness_for(name, spec),
            asked=asked,
            searched=self._models_dir,
            mini_allowed=self._mini_allowed,
        )


async def _cropped(spec: RenderSpec, work_dir: Path) -> tuple[RenderSpec, tuple[str, ...]]:
    """
    Crop the pictures to the shape of a size that was asked for. Pictures that gave the size already have its shape.
    """
    warnings = []
    changes: dict[str, Path] = {}
    for name, path in (("image", spec.image), ("last_image", spec.last_image)):
        target = work_dir / f"{name}-cropped.png"
        if path and spec.size_given and await in_thread(crop_to_aspect, path, target, spec.size):
            changes[name] = target
            warnings.append(f"{name} was cropped (centre) to the shape of {spec.size}.")
    return dataclasses.replace(spec, **changes), tuple(warnings)  # type: ignore[arg-type]
