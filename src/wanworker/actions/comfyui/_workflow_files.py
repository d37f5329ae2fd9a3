"""Find workflows by name: in the volume's folder, and then among our own."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from wanworker.actions.comfyui._workflow_text import parsed
from wanworker.errors import InputRefused, InputUnavailable, InvalidRequest
from wanworker.media.inputs.allowed_dirs import file_below
from wanworker.settings import Settings
from wanworker.text.json_words import shown
from wanworker.text.nearest import nearest_names

_SETTING = "WAN_WORKFLOWS"
_ENDING = ".json"

#: The largest file that is read. Workflows with pictures inside have some megabytes.
MAX_BYTES = 16_000_000

#: How many files of a folder are listed. A folder with more is no folder of workflows.
_MOST = 500


@dataclass(frozen=True, slots=True)
class WorkflowFile:
    """Name one file: how a request calls it, where it is, and whose it is."""

    name: str
    path: Path
    source: Literal["volume", "worker"]

    def read(self) -> dict[str, Any]:
        """Return the workflow. Blocks. Raises InvalidRequest, GraphRefused, InputUnavailable and InputRefused."""
        try:
            with self.path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise InputUnavailable(f"workflow {self.name!r} cannot be read ({error.strerror}).") from error
        if len(content) > MAX_BYTES:
            raise InputRefused(f"workflow {self.name!r} has more than {MAX_BYTES:,} bytes.", field="workflow")
        return parsed(content, f"workflow {self.name!r}")


class WorkflowFiles:
    """Look up the workflows of *settings*' folder and our own. Everything blocks."""

    def __init__(self, settings: Settings) -> None:
        from wanworker.engines.comfyui.graphs import FOLDER  # a slow import, kept out of the start

        self._volume, self._own = settings.workflows_dir, FOLDER

    def named(self, name: str) -> WorkflowFile:
        """
        Return the workflow that *name* names, with or without its ending.

        Raises InvalidRequest with the nearest names if there is none, and InputRefused for a path outside the folders.
        """
        spellings = (name, f"{name}{_ENDING}") if name.endswith(_ENDING) else (f"{name}{_ENDING}",)
        for (folder, source), spelling in itertools.product(self._folders(), spellings):
            try:
                return WorkflowFile(name, file_below(spelling, (folder,), setting=_SETTING), source)
            except InputUnavailable:
                continue
            except InputRefused as error:
                raise InputRefused(f"workflow: {error}", hint=error.hint, field="workflow") from error
        raise self._unknown(name)

    def all(self) -> tuple[WorkflowFile, ...]:
        """Return every workflow by name. A file of the volume hides ours of the same name."""
        found: dict[str, WorkflowFile] = {}
        for folder, source in self._folders():
            for name in itertools.islice(_names_in(folder), _MOST):
                try:
                    path = file_below(f"{name}{_ENDING}", (folder,), setting=_SETTING)
                except (InputUnavailable, InputRefused):
                    continue  # a link that leads out of the folder, or a file that went meanwhile
                found.setdefault(name, WorkflowFile(name, path, source))
        return tuple(found[name] for name in sorted(found))

    def _folders(self) -> tuple[tuple[Path, Literal["volume", "worker"]], ...]:
        return (self._volume, "volume"), (self._own, "worker")

    def _unknown(self, name: str) -> InvalidRequest:
        known = [each.name for each in self.all()]
        by_case = {each.lower(): each for each in reversed(known)}
        alike = [by_case[each] for each in nearest_names(name.lower().removesuffix(_ENDING), by_case)] or known[:5]
        near = f"; nearest: {', '.join(map(repr, alike))}" if alike else ""
        message = f"There is no workflow {shown(name)} in {self._volume} or among the worker's own{near}."
        return InvalidRequest(message, hint="`comfyui_models` lists the workflows.", field="workflow")


def _names_in(folder: Path) -> Iterator[str]:
    """Yield the names of the files below *folder*, without their ending. Hidden ones are left out."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in sorted(files):
            if file.endswith(_ENDING) and not file.startswith("."):
                yield (Path(place) / file).relative_to(folder).as_posix().removesuffix(_ENDING)
