"""Find workflows by name: in the volume's folder, and then among our own."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from wanworker.actions.comfyui._workflow_text import parsed
from wanworker.errors import InputRefused, InputUnavailable, InvalidRequest
from wanworker.media.inputs.allowed_dirs import file_below
from wanworker.settings import Settings
from wanworker.text.json_words import shown
from wanworker.text.nearest import nearest_names

_SETTING = "WAN_WORKFLOWS"
#: What a workflow may be in. If files of one name differ in the ending only, the first of these has the short name.
_ENDINGS = (".json", ".png", ".webp", ".jpg", ".jpeg", ".mp4")

#: The largest file of JSON that is read. Workflows with pictures inside have some megabytes.
MAX_BYTES = 16_000_000

#: The most that is read of a picture or a video. The frames of a video are not read.
_MEDIA_BYTES = 64_000_000

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
        from wanworker.comfyui.graph.workflow_file import without_frames  # a slow import

        limit = MAX_BYTES if self.path.suffix == ".json" else _MEDIA_BYTES
        try:
            with self.path.open("rb") as file:
                content = without_frames(file, limit + 1)
        except OSError as error:
            raise InputUnavailable(f"workflow {self.name!r} cannot be read ({error.strerror}).") from error
        if len(content) > limit:
            raise InputRefused(f"workflow {self.name!r} has more than {limit:,} bytes.", field="workflow")
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
        spellings = (name,) * name.endswith(_ENDINGS) + tuple(f"{name}{ending}" for ending in _ENDINGS)
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
            for name, file in _named(itertools.islice(_files_in(folder), _MOST)):
                try:
                    path = file_below(file, (folder,), setting=_SETTING)
                except (InputUnavailable, InputRefused):
                    continue  # a link that leads out of the folder, or a file that went meanwhile
                found.setdefault(name, WorkflowFile(name, path, source))
        return tuple(found[name] for name in sorted(found))

    def _folders(self) -> tuple[tuple[Path, Literal["volume", "worker"]], ...]:
        return (self._volume, "volume"), (self._own, "worker")

    def _unknown(self, name: str) -> InvalidRequest:
        known = [each.name for each in self.all()]
        by_case = {each.lower(): each for each in reversed(known)}
        alike = [by_case[each] for each in nearest_names(_short(name.lower()), by_case)] or known[:5]
        near = f"; nearest: {', '.join(map(repr, alike))}" if alike else ""
        message = f"There is no workflow {shown(name)} in {self._volume} or among the worker's own{near}."
        return InvalidRequest(message, hint="`comfyui_models` lists the workflows.", field="workflow")


def _files_in(folder: Path) -> Iterator[str]:
    """Yield the files below *folder* that may have a workflow, relative to it. Hidden ones are left out."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in sorted(files):
            if file.endswith(_ENDINGS) and not file.startswith("."):
                yield (Path(place) / file).relative_to(folder).as_posix()


def _named(files: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield (name, file): each file without its ending, or with it if another file has the short name."""
    taken: set[str] = set()
    for file in sorted(files, key=lambda file: _ENDINGS.index(PurePosixPath(file).suffix)):
        name = file if _short(file) in taken else _short(file)
        taken.add(name)
        yield name, file


def _short(name: str) -> str:
    return str(PurePosixPath(name).with_suffix("")) if name.endswith(_ENDINGS) else name
