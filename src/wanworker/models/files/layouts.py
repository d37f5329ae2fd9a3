"""Find Wan 2.2 folders in diffusers' layout, their task and what is wrong with them. Loads no torch."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from wanworker.models.files.safetensors import BrokenSafetensors, read_header
from wanworker.models.files.weight_index import json_object, weight_files
from wanworker.spec import TASKS

#: How many levels below a models folder a model may lie: `models/Wan-AI/Wan2.2-T2V-A14B-Diffusers` is two.
MAX_DEPTH = 3

_INDEX = "model_index.json"
_PIPELINES = {"WanPipeline", "WanImageToVideoPipeline", "WanDMDPipeline"}
_DISTILLED = "WanDMDPipeline"
_WEIGHTS = {
    "transformer": "diffusion_pytorch_model",
    "transformer_2": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
}

#: Bytes for each number once loaded: bfloat16, but float32 for the VAE, whatever the file has.
_LOADED_BYTES = 2
_LOADED_VAE_BYTES = 4

_HUB_REPOSITORY = "models--"

_Stamp: TypeAlias = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True)
class WanFolder:
    """
    Describe one folder with a `model_index.json` of a Wan 2.2 pipeline.

    `faults` says in words what is missing or damaged. `sizes_bytes` is what each component takes once it is loaded on a
    GPU. `is_distilled` marks a model that renders in a few fixed steps (FastWan). `experts` is 1 or 2.
    """

    path: Path
    task: str
    experts: int
    is_distilled: bool
    sizes_bytes: Mapping[str, int]
    faults: tuple[str, ...] = ()


class Layouts:
    """Find the Wan folders below some places. A folder is read again only after something in it has changed."""

    def __init__(self, places: Iterable[Path]) -> None:
        self.places = tuple(places)
        self._known: dict[Path, tuple[_Stamp, WanFolder | None]] = {}

    def all(self) -> Iterator[WanFolder]:
        """Give the folders for every task, as they lie; one that two places lead to, twice."""
        for place in self.places:
            for path in _model_folders(place, MAX_DEPTH):
                stamp = _stamp(path)
                if path not in self._known or self._known[path][0] != stamp:
                    self._known[path] = (stamp, read_folder(path))
                folder = self._known[path][1]
                if folder is not None:
                    yield folder


def read_folder(path: Path) -> WanFolder | None:
    """Return what the folder *path* holds, or None if it is not a Wan 2.2 pipeline that we can render with."""
    index = json_object(path / _INDEX)
    if index.get("_class_name") not in _PIPELINES:
        return None
    task = _task_of(path, index)
    if task is None:
        return None
    faults: list[str] = []
    sizes_bytes: dict[str, int] = {}
    for name in (name for name, value in index.items() if _is_component(value)):
        folder = path / name
        if name in _WEIGHTS:
            sizes_bytes[name] = _read_weights(folder, _WEIGHTS[name], faults) * _bytes_of_a_number(name)
        elif not any(folder.glob("*.json")):
            faults.append(f"{path.name}/{name} is missing or empty")
    return WanFolder(
        path,
        task,
        experts=2 if "transformer_2" in sizes_bytes else 1,
        is_distilled=index["_class_name"] == _DISTILLED,
        sizes_bytes=sizes_bytes,
        faults=tuple(faults),
    )


def components_of(path: Path) -> dict[str, Path]:
    """Return the folder of each component of the pipeline in the folder *path*, by the component's name."""
    return {name: path / name for name, value in json_object(path / _INDEX).items() if _is_component(value)}


def task_of_config(config: Mapping[str, Any], *, experts: int, expand_timesteps: bool) -> str | None:
    """
    Return the task of a transformer with this configuration, or None for another model of the family. Pure.

    i2v takes 16 channels of noise, 16 of picture and 4 of mask; 5B's VAE has 48 channels. One expert with 16 channels
    is Wan 2.1.
    """
    channels_in, channels_out = config.get("in_channels"), config.get("out_channels")
    if expand_timesteps or (channels_in, channels_out) == (48, 48):
        return "ti2v-5B"
    if experts != 2 or not isinstance(channels_in, int) or not isinstance(channels_out, int):
        return None
    if channels_in == channels_out:
        return "t2v-A14B"
    return "i2v-A14B" if channels_in == 2 * channels_out + 4 else None


def _task_of(path: Path, index: Mapping[str, Any]) -> str | None:
    config = json_object(path / "transformer" / "config.json")
    if not config:  # an unfinished download: its name says what it will be
        return _task_named(str(path))
    experts = 2 if _is_component(index.get("transformer_2")) else 1
    return task_of_config(config, experts=experts, expand_timesteps=bool(index.get("expand_timesteps")))


def _task_named(text: str) -> str | None:
    for task in TASKS.values():
        if task.folder.lower() in text.lower():
            return task.name
    return None


def _is_component(value: object) -> bool:
    """Say whether an entry of the index is a component: [library, class]. A missing component is [null, null]."""
    return isinstance(value, list) and len(value) == 2 and value[1] is not None


def _read_weights(folder: Path, stem: str, faults: list[str]) -> int:
    """Return how many numbers the component has. Each missing or damaged file becomes a line in *faults*."""
    where = f"{folder.parent.name}/{folder.name}"
    if not (folder / "config.json").is_file():
        faults.append(f"{where}/config.json is missing")
    numbers = 0
    for name in weight_files(folder, stem):
        try:
            numbers += _numbers_in(read_header(folder / name))
        except FileNotFoundError:
            faults.append(f"{where}/{name} is missing")
        except (OSError, BrokenSafetensors) as error:
            faults.append(f"{where}/{name} is damaged: {error}")
    return numbers


def _numbers_in(header: Mapping[str, Any]) -> int:
    return sum(math.prod(entry.get("shape", ())) for name, entry in header.items() if name != "__metadata__")


def _bytes_of_a_number(component: str) -> int:
    return _LOADED_VAE_BYTES if component == "vae" else _LOADED_BYTES


def _model_folders(place: Path, depth: int) -> Iterator[Path]:
    """Yield the folders with an index at most *depth* levels below *place*. Folders inside a model are not searched."""
    if (place / _INDEX).is_file():
        yield place
        return
    if depth == 0:
        return
    for folder in _subfolders(place):
        if folder.name.startswith(_HUB_REPOSITORY):
            for snapshot in _subfolders(folder / "snapshots"):
                yield from _model_folders(snapshot, 0)
        else:
            yield from _model_folders(folder, depth - 1)


def _subfolders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())
    except OSError:  # it is missing, unreadable or not a folder
        return []
    return [folder / name for name in names]


def _stamp(path: Path) -> _Stamp:
    """Return what changes when a file is added, removed or written: names, times, sizes."""
    stamps = []
    for folder in (path, *_subfolders(path)):
        for file in sorted(folder.iterdir()):
            if file.suffix in {".json", ".safetensors"} and file.exists():
                facts = file.stat()
                stamps.append((str(file), facts.st_mtime_ns, facts.st_size))
    return tuple(stamps)
