"""Crop the pictures of a spec to the shape that was asked for."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from wanworker.media.disk import in_thread
from wanworker.media.inputs.picture import crop_to_aspect
from wanworker.spec import RenderSpec


async def cropped(spec: RenderSpec, work_dir: Path) -> tuple[RenderSpec, tuple[str, ...]]:
    """
    Return *spec* with its pictures cropped in *work_dir*, and a line for each, if a size was asked for.

    Pictures that gave the size already have its shape.
    """
    warnings = []
    changes: dict[str, Path] = {}
    for name, path in (("image", spec.image), ("last_image", spec.last_image)):
        target = work_dir / f"{name}-cropped.png"
        if path and spec.size_given and await in_thread(crop_to_aspect, path, target, spec.size):
            changes[name] = target
            warnings.append(f"{name} was cropped (centre) to the shape of {spec.size}.")
    return dataclasses.replace(spec, **changes), tuple(warnings)  # type: ignore[arg-type]
