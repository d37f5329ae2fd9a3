"""Say what `model` means here: a task, a model on the volume, or the best that this worker can render."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from wanworker.engines.registry import EngineRegistry
from wanworker.errors import ModelNotFound
from wanworker.spec import TASKS
from wanworker.text.nearest import nearest_names
from wanworker.text.weight_names import meant

#: Any model of the family: what this worker has for the request.
FAMILY = "wan2.2"

#: The tasks that the request's files call for, the best first.
_FOR_TEXT, _FOR_PICTURE = ("t2v-A14B", "ti2v-5B"), ("i2v-A14B", "ti2v-5B")
_FOR_FILM, _FOR_SOUND = ("animate-14B",), ("s2v-14B",)

#: What calls for other tasks than a text does. The first that is there decides.
_CALLED_FOR = {"driving_video": _FOR_FILM, "audio": _FOR_SOUND, "reference_image": _FOR_PICTURE}


@dataclass(frozen=True, slots=True)
class ChosenModel:
    """Hold a task, and the model by its name on the volume where one was named."""

    task: str
    diffusion_model: str | None = None


class VideoModels:
    """Know the names that `model` takes on this worker. Methods look at the disk, so call them in a thread."""

    def __init__(self, registry: EngineRegistry) -> None:
        self._registry = registry

    def chosen(self, name: str | None, inputs: Collection[str]) -> ChosenModel:
        """Return what *name* means for a request with these *inputs*. Raises ModelNotFound, with all names."""
        if name is None or name.strip().lower() == FAMILY:
            tasks = next((tasks for file, tasks in _CALLED_FOR.items() if file in inputs), _FOR_TEXT)
            return ChosenModel(self._best(tasks))
        here = self.on_volume()
        if found := meant(name, here):
            return ChosenModel(here[found[0]], name.strip())
        if task := _task_called(name):
            return ChosenModel(task)
        known = [FAMILY, *TASKS, *here]
        near = nearest_names(name, known, most=1, cutoff=0.6)
        hint = f"Did you mean {near[0]!r}?" if near else "Send one of these names, or leave model out."
        message = f"Unknown model {name[:120]!r}; known: {', '.join(known)}."
        raise ModelNotFound(message, hint=hint, field="model")

    def on_volume(self) -> Mapping[str, str]:
        """Return the folders and files that are models of a task, each with its task."""
        from wanworker.engines.model_sources import sources_of  # a slow import, kept out of the start

        return sources_of(self._registry.settings).names()

    def _best(self, tasks: tuple[str, ...]) -> str:
        """Return the first task that an engine is ready for, the miniature apart, which is ready for all."""
        engines = [row.name for row in self._registry.rows if row.name != "mini"]
        ready = (task for task in tasks if any(self._registry.readiness(engine, task).is_ready for engine in engines))
        return next(ready, tasks[0])


def _task_called(name: str) -> str | None:
    """Return the task of this name, or of its repository's or folder's name: `Wan-AI/Wan2.2-T2V-A14B-Diffusers`."""
    last = name.strip().rstrip("/").rpartition("/")[2].lower().removesuffix("-diffusers")
    return next((task.name for task in TASKS.values() if last in {task.name.lower(), task.folder.lower()}), None)
