"""Tell from the names and shapes of a checkpoint which model it is, and from its file name which expert. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from wanworker.models.files.loras import Expert, half_of
from wanworker.models.sources.checkpoint import CannotLoad, Checkpoint
from wanworker.text.weight_names import has_word

Component = Literal["transformer", "text_encoder", "vae"]

#: One name that only this component has, upstream's, ComfyUI's or diffusers'.
_MARKS: Mapping[str, Component] = {
    "patch_embedding.weight": "transformer",
    "token_embedding.weight": "text_encoder",
    "encoder.block.0.layer.0.SelfAttention.q.weight": "text_encoder",
    "encoder.conv1.weight": "vae",
    "encoder.conv_in.weight": "vae",
}

#: What the names of other models of the family begin with, which have all that a Wan 2.2 transformer has and more.
_OTHERS = {
    "img_emb.": "Wan 2.1 image to video",
    "condition_embedder.image_embedder.": "Wan 2.1 image to video",
    "vace_blocks.": "VACE",
    "vace_patch_embedding.": "VACE",
    "face_adapter.": "Wan 2.2 Animate",
    "pose_patch_embedding.": "Wan 2.2 Animate",
    "casual_audio_encoder.": "Wan 2.2 S2V",
    "control_adapter.": "Wan 2.2 Fun Camera",
    "ref_conv.": "Wan 2.2 Fun Control",
    "audio_proj.": "a model with sound",
}


def component_of(checkpoint: Checkpoint) -> Component | None:
    """Return which part of a Wan pipeline the checkpoint is, None for what is none of them."""
    names = checkpoint.tensors
    if not any(name.startswith(("blocks.", "encoder.", "decoder.")) for name in names):
        return None
    return next((component for mark, component in _MARKS.items() if mark in names), None)


def _other_model(checkpoint: Checkpoint) -> str | None:
    """Return in words which other model of the family the checkpoint is, None where no name says so."""
    for name in checkpoint.tensors:
        for start, words in _OTHERS.items():
            if name.startswith(start):
                return words
    return None


def task_and_expert(checkpoint: Checkpoint, name: str) -> tuple[str, Expert | None]:
    """
    Return the task of a transformer, and which expert it is where the task has two.

    The shapes tell text from picture: i2v feeds two more channels for each that it makes, and four of mask (wan.md 3).
    *name*, the file's with its folders, tells the experts apart, whose shapes are the same. Raises CannotLoad for
    another model.
    """
    if other := _other_model(checkpoint):
        raise CannotLoad(f"{name}: this is {other}, which this engine does not render")
    channels_in, channels_out = _channels(checkpoint, name)
    half = half_of(name)
    if channels_in == 2 * channels_out + 4:
        return "i2v-A14B", _expert(half, name)
    if channels_in != channels_out:
        raise CannotLoad(f"{name}: {channels_in} channels in and {channels_out} out belong to no task of this engine")
    if channels_out == 48 or (channels_out != 16 and half is None):
        return "ti2v-5B", None
    return "t2v-A14B", _expert(half, name)


def is_distilled(name: str) -> bool:
    """Say whether a 5B model's name is one of FastWan, which renders in a few fixed steps. Pure."""
    return "fastwan" in name.lower().replace("_", "").replace("-", "") or has_word(name.lower(), "dmd")


def _channels(checkpoint: Checkpoint, name: str) -> tuple[int, int]:
    tensors = checkpoint.tensors
    head = tensors.get("head.head.weight") or tensors.get("proj_out.weight")
    embedding = tensors.get("patch_embedding.weight")
    if head is None or embedding is None or len(embedding.shape) != 5:
        raise CannotLoad(f"{name}: it lacks patch_embedding.weight or head.head.weight of a Wan transformer")
    patch = embedding.shape[2] * embedding.shape[3] * embedding.shape[4]
    return embedding.shape[1], head.shape[0] // max(1, patch)


def _expert(half: Expert | None, name: str) -> Expert:
    if half is None:
        raise CannotLoad(f"{name}: neither high nor low noise is in its name, and Wan 2.2's experts look the same")
    return half
