"""Find upstream's checkpoint folders, and list what is missing from them. Reads the disk only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wanworker.models.files.hub_cache import snapshots
from wanworker.models.files.safetensors import check_header
from wanworker.models.files.weight_index import json_object, weight_files
from wanworker.spec import Task

_STEM = "diffusion_pytorch_model"

#: The owner of upstream's checkpoints on the hub.
_PUBLISHER = "Wan-AI"


@dataclass(frozen=True, slots=True)
class _Content:
    """
    List what generate.py opens for one task: files, folders, and the folders with transformer weights.

    `in_channels` tells the two A14B tasks apart, whose files have the same names.
    """

    files: tuple[str, ...]
    folders: tuple[str, ...]
    weights: tuple[str, ...] = (".",)
    in_channels: int | None = None


_T5, _VAE = "models_t5_umt5-xxl-enc-bf16.pth", "Wan2.1_VAE.pth"
_CLIP = "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth"
_UMT5 = "google/umt5-xxl"
_EXPERTS = ("high_noise_model", "low_noise_model")

#: The names are those in upstream's wan/configs at 42bf4cf; in_dim is that of the models' config.json.
_CONTENTS: Mapping[str, _Content] = {
    "t2v-A14B": _Content((_T5, _VAE), (_UMT5,), _EXPERTS, in_channels=16),
    "i2v-A14B": _Content((_T5, _VAE), (_UMT5,), _EXPERTS, in_channels=36),
    "ti2v-5B": _Content((_T5, "Wan2.2_VAE.pth"), (_UMT5,), in_channels=48),
    "s2v-14B": _Content((_T5, _VAE), (_UMT5, "wav2vec2-large-xlsr-53-english")),
    "animate-14B": _Content((_T5, _VAE, _CLIP), (_UMT5, "xlm-roberta-large")),
}


@dataclass(frozen=True, slots=True)
class Located:
    """
    Hold the checkpoint folder of a task, or None and what is missing. `searched` are the places that were searched.
    """

    folder: Path | None
    missing: tuple[str, ...]
    searched: tuple[str, ...]


def locate(task: Task, model_dirs: Sequence[Path]) -> Located:
    """
    Find *task*'s complete checkpoint: below each models folder by its published name, or the models folder itself.

    A models folder may be a Hugging Face cache; the checkpoint is then a snapshot of upstream's repository.
    """
    below = [place / task.folder for place in model_dirs]
    cached = snapshots(model_dirs, f"{_PUBLISHER}/{task.folder}")
    candidates = [*(folder for pair in zip(below, model_dirs, strict=True) for folder in pair), *cached]
    searched = tuple(str(folder) for folder in candidates)
    found = next((folder for folder in candidates if not _missing(task, folder)), None)
    if found is not None:
        return Located(found, (), searched)
    begun = next((folder for folder in (*below, *cached) if folder.is_dir()), None)
    if begun is None:
        return Located(None, (f"no folder {task.folder}",), searched)
    return Located(None, tuple(f"{begun.name}/{line}" for line in _missing(task, begun)), searched)


def _missing(task: Task, folder: Path) -> list[str]:
    """Return a line for everything that is missing or incomplete. A missing folder gives one line."""
    if not folder.is_dir():
        return ["is not a folder"]
    content = _CONTENTS[task.name]
    lines = [f"{name} is missing" for name in content.files if not _is_filled(folder / name)]
    lines += [f"{name}/ is missing" for name in content.folders if not (folder / name).is_dir()]
    for name in content.weights:
        prefix = "" if name == "." else f"{name}/"
        lines += [f"{prefix}{line}" for line in _weight_flaws(folder / name, content.in_channels)]
    return lines


def _is_filled(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _weight_flaws(folder: Path, in_channels: int | None) -> Iterator[str]:
    config = json_object(folder / "config.json")
    if not config:
        yield "config.json is missing"
    elif in_channels is not None and config.get("in_dim", in_channels) != in_channels:
        yield f"config.json is another model's (in_dim {config['in_dim']}, not {in_channels})"
    for name in weight_files(folder, _STEM):
        try:
            check_header(folder / name)
        except FileNotFoundError:
            yield f"{name} is missing"
        except (OSError, ValueError) as error:
            yield f"{name} is damaged: {error}"
