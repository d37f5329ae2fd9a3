"""Write the extra_model_paths.yaml that tells a ComfyUI server the model folders of a volume."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

log = logging.getLogger(__name__)

#: Every kind of model by ComfyUI's name for it, and its folders below a models folder. From `folder_names_and_paths` in
#: folder_paths.py, ComfyUI 0.10.0 (79cdbc81) and 0.38. `unet`, `clip` and `t2i_adapter` are older folders of the same
#: files. An older server takes an unknown name as one more kind, not as an error. Left out are custom_nodes (code on a
#: volume must not run), and datasets and fonts (no weights).
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

#: Layouts: a models folder itself (`root/loras`), or a ComfyUI on the volume (`root/ComfyUI/models/loras`).
_LAYOUTS = (Path(), Path("ComfyUI", "models"))

#: Comfy-Org's repackaged weights in Hugging Face's cache, whose `hub` folder is the root. RunPod caches the whole
#: repository, and its folder `split_files` has the layout of a models folder.
_CACHED = "models--*/snapshots/*/split_files"


def models_folders(roots: Iterable[Path]) -> tuple[Path, ...]:
    """Return the models folders that exist below *roots* in any layout. A folder with two names is returned once."""
    found: dict[Path, Path] = {}
    for folder in (folder for root in roots for folder in _candidates(root.absolute())):
        if folder.is_dir():
            found.setdefault(folder.resolve(), folder)
    return tuple(found.values())


def _candidates(root: Path) -> list[Path]:
    return [*(root / layout for layout in _LAYOUTS), *sorted(root.glob(_CACHED))]


def extra_model_paths(roots: Iterable[Path]) -> str:
    """
    Return the text of an extra_model_paths.yaml for *roots*, always the same for the same folders.

    An existing models folder is listed with every folder of MODEL_FOLDERS, even missing ones. The server looks again
    for each list that it sends, so it sees weights that are fetched later. If several models folders have a name, the
    file in the first one is loaded.
    """
    sections = [_section(number, folder) for number, folder in enumerate(_expressible(models_folders(roots)), 1)]
    # ComfyUI crashes on an empty document.
    return "\n".join(sections) if sections else "{}\n"


def write_extra_model_paths(path: Path, roots: Iterable[Path]) -> Path:
    """Write the file for *roots* at *path*, completely or not at all, and return *path*."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    beside.write_text(extra_model_paths(roots), encoding="ascii")
    beside.replace(path)
    return path


def _expressible(folders: Sequence[Path]) -> list[Path]:
    """Leave out folders that the format cannot name, because ComfyUI splits every value at line ends."""
    unnamable = [folder for folder in folders if "\n" in str(folder)]
    for folder in unnamable:
        log.warning("ComfyUI cannot use a models folder with a line end in its name: %r", str(folder))
    return [folder for folder in folders if folder not in unnamable]


def _section(number: int, folder: Path) -> str:
    # Paths are absolute and there is no `base_path`, in which ComfyUI would expand ~ and $NAME.
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
