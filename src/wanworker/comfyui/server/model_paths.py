"""Write the extra_model_paths.yaml that shows a ComfyUI server the model folders of a volume."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

log = logging.getLogger(__name__)

#: Every model folder by the name that ComfyUI knows it by, and where each lies below a models folder. From
#: `folder_names_and_paths` in folder_paths.py, ComfyUI 0.10.0 (79cdbc81) and 0.38; `unet`, `clip` and `t2i_adapter`
#: are older places of the same files. A name that an older server does not know is one more folder to it, no error.
#: Left out: custom_nodes (code is not run because it lies on a volume), datasets and fonts (no weights).
MODEL_FOLDERS: Mapping[str, tuple[str, ...]] = {
    "checkpoints": ("checkpoints",),
    "configs": ("configs",),
    "loras": ("loras",),
    "vae": ("vae",),
    "text_encoders": ("text_encoders", "clip"),
    "diffusion_models": ("diffusion_models", "unet"),
    "clip_vision": ("clip_vision",),
    "style_models": ("style_models",),
    "embeddings": ("embeddings",),
    "diffusers": ("diffusers",),
    "vae_approx": ("vae_approx",),
    "controlnet": ("controlnet", "t2i_adapter"),
    "gligen": ("gligen",),
    "upscale_models": ("upscale_models",),
    "latent_upscale_models": ("latent_upscale_models",),
    "hypernetworks": ("hypernetworks",),
    "photomaker": ("photomaker",),
    "classifiers": ("classifiers",),
    "model_patches": ("model_patches",),
    "audio_encoders": ("audio_encoders",),
    "background_removal": ("background_removal",),
    "frame_interpolation": ("frame_interpolation",),
    "geometry_estimation": ("geometry_estimation",),
    "optical_flow": ("optical_flow",),
    "detection": ("detection",),
}

#: A models folder itself (`root/loras`), and a ComfyUI that was set up on the volume (`root/ComfyUI/models/loras`).
_LAYOUTS = (Path(), Path("ComfyUI", "models"))

#: Comfy-Org's repackaged weights in Hugging Face's cache, whose `hub` folder is the root: RunPod caches a whole
#: repository, and `split_files` in it is laid out as a models folder is.
_CACHED = "models--*/snapshots/*/split_files"


def models_folders(roots: Iterable[Path]) -> tuple[Path, ...]:
    """Return the models folders that exist below *roots* in any layout; one that two names lead to, once."""
    found: dict[Path, Path] = {}
    for folder in (folder for root in roots for folder in _candidates(root.absolute())):
        if folder.is_dir():
            found.setdefault(folder.resolve(), folder)
    return tuple(found.values())


def _candidates(root: Path) -> list[Path]:
    return [*(root / layout for layout in _LAYOUTS), *sorted(root.glob(_CACHED))]


def extra_model_paths(roots: Iterable[Path]) -> str:
    """
    Return the text of an extra_model_paths.yaml for *roots*, the same for the same folders.

    A models folder that exists is listed with every folder of MODEL_FOLDERS, there or not: the server looks again
    for each list that it gives out, so weights fetched later are seen. Where a name is in several models folders the
    first one's file is loaded.
    """
    sections = [_section(number, folder) for number, folder in enumerate(_expressible(models_folders(roots)), 1)]
    # ComfyUI goes through the document's keys without asking whether there are any: an empty document ends it.
    return "\n".join(sections) if sections else "{}\n"


def write_extra_model_paths(path: Path, roots: Iterable[Path]) -> Path:
    """Write the file for *roots* at *path*, whole or not at all, and return *path*."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    beside.write_text(extra_model_paths(roots), encoding="ascii")
    beside.replace(path)
    return path


def _expressible(folders: Sequence[Path]) -> list[Path]:
    """Leave out what the format cannot name: ComfyUI cuts every value at its line ends."""
    unnamable = [folder for folder in folders if "\n" in str(folder)]
    for folder in unnamable:
        log.warning("ComfyUI cannot be told of a models folder with a line end in its name: %r", str(folder))
    return [folder for folder in folders if folder not in unnamable]


def _section(number: int, folder: Path) -> str:
    # Whole paths, no `base_path`: ComfyUI expands ~ and $NAME in that one.
    lines = [f"models_{number}:"]
    for name, places in MODEL_FOLDERS.items():
        lines.append(f"  {name}: {_quoted(chr(10).join(str(folder / place) for place in places))}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """Return *text* as a YAML double-quoted scalar in ASCII, which may hold any character (YAML 1.1, section 9.3.1)."""
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if " " <= character <= "~":
        return character
    return f"\\U{ord(character):08x}"
