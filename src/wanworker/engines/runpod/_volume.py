"""Use the network volume that the endpoints' workers share with this machine, for inputs and for results."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path, PurePosixPath

from wanworker.errors import EngineFailed, InputRefused
from wanworker.media.new_file import new_file
from wanworker.settings import SharedVolume

#: The folder of the volume that workers read inputs from, unless WAN_INPUT_DIRS names others.
_INPUTS = "inputs"


class Volume:
    """Translate paths between here and there. Methods are blocking."""

    def __init__(self, place: SharedVolume) -> None:
        self._place = place

    def there(self, path: Path, *, field: str) -> str:
        """Return the worker's name of a path on the volume. Raises InputRefused if it is not on the volume."""
        try:
            inside = path.resolve().relative_to(self._place.here.resolve())
        except ValueError:
            text = f"{field}: {path} is not on the volume that is shared with the endpoints, {self._place.here}."
            raise InputRefused(text, hint="Put it there, or render it here.", field=field) from None
        return str(self._place.there / inside)

    def input_place(self, name: str) -> tuple[Path, str]:
        """Return where an input of this name is here, and the worker's name of it."""
        return self._place.here / _INPUTS / name, str(self._place.there / _INPUTS / name)

    def put(self, path: Path, copy: Path) -> None:
        """Copy an input to the volume. Raises OSError; then no half copy is left."""
        copy.parent.mkdir(exist_ok=True)
        with new_file(copy.with_name(f".{copy.name}.part")) as part:
            shutil.copyfile(path, part)
            part.replace(copy)  # a worker may be reading the copy that an earlier process made

    def get(self, there: str, target: Path) -> None:
        """Copy a result from the volume to *target*. Raises EngineFailed if it is not there or cannot be copied."""
        text = f"The endpoint's answer names {there[:200]}, which is not on the shared volume {self._place.here}."
        try:
            inside = PurePosixPath(there).relative_to(self._place.there)
            source = (self._place.here / inside).resolve(strict=True)
            source.relative_to(self._place.here.resolve())
        except (ValueError, OSError) as error:
            raise EngineFailed(text, hint="WAN_RUNPOD_VOLUME says where the volume is, here and there.") from error
        try:
            shutil.copyfile(source, target)
        except OSError as error:
            reason = f"The video could not be copied from the shared volume to {target.parent}: {error.strerror}."
            raise EngineFailed(reason) from error


def remove(paths: list[Path]) -> None:
    """Remove copies of inputs; what the disk refuses to remove stays."""
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
