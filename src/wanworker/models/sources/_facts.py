"""Read what can be known of a checkpoint before anything is loaded, and read it again only when its files change."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from wanworker.models.files.damage import flaw_of
from wanworker.models.files.loras import Expert
from wanworker.models.sources._kinds import Component, component_of, task_and_expert
from wanworker.models.sources.checkpoint import (
    CannotLoad,
    Checkpoint,
    Stamp,
    read_checkpoint,
    stamp_of,
    stays_float8,
)
from wanworker.models.sources.configs import UMT5_XXL, own_config, transformer_config
from wanworker.text.weight_names import has_word

#: Bytes a number takes once loaded: bfloat16, and float32 for the VAE, whatever the file has.
_LOADED_BYTES, _LOADED_VAE_BYTES = 2, 4

#: Upstream's pickled files say by their names what they are, and nothing else does without torch.
_PICKLED_VAE = re.compile(r"wan_?2[._]([12])_vae", re.IGNORECASE)
_PICKLED_TEXT = re.compile(r"umt5", re.IGNORECASE)
PICKLED = frozenset({".pth", ".pt"})
GGUF = ".gguf"


@dataclass(frozen=True, slots=True)
class Facts:
    """
    One checkpoint: a file, or a folder with one model.

    `channels` are the latent's (of a transformer and of a VAE), `width` is the text embedding's (of a transformer and
    of a text encoder); parts whose numbers differ do not fit together. `size_bytes` is what it takes once loaded.
    `multiplies_float8`: some of its matrices can be multiplied in float8 as they are.
    `flaw` says why it cannot be loaded; the rest is then as far as it is known.
    """

    path: Path
    name: str
    component: Component | None = None
    form: str = ""
    size_bytes: int = 0
    channels: int | None = None
    width: int | None = None
    task: str | None = None
    expert: Expert | None = None
    has_tokenizer: bool = False
    multiplies_float8: bool = False
    flaw: str = ""


class FactsOfFiles:
    """Keep the facts of checkpoints; a file that changed is read anew."""

    def __init__(self) -> None:
        self._known: dict[tuple[Path, str], tuple[Stamp, Facts]] = {}

    def of(self, path: Path, name: str, component: Component) -> Facts:
        """Return the facts of the checkpoint at *path*, which *name* calls and whose place is for a *component*."""
        stamp = stamp_of(path)
        known = self._known.get((path, name))
        if known is None or known[0] != stamp:
            known = self._known[path, name] = (stamp, facts_of(path, name, component))
        return known[1]


def facts_of(path: Path, name: str, component: Component) -> Facts:
    """Return what the headers of *path* say; what is wrong is in the facts' `flaw`."""
    bare = Facts(path, name, component, task=_task_named(name) if component == "transformer" else None)
    if path.suffix.lower() == GGUF:
        return replace(bare, flaw=f"{name}: GGUF is not read by this engine; it reads fp8, bf16, fp16 and fp32")
    if path.suffix.lower() in PICKLED:
        return _pickled(bare)
    try:
        checkpoint = read_checkpoint(path)
        kind = component_of(checkpoint)
        return (
            replace(bare, component=None) if kind is None else _READERS[kind](replace(bare, component=kind), checkpoint)
        )
    except CannotLoad as error:
        return replace(bare, flaw=str(error))
    except (OSError, ValueError, TypeError, struct.error) as error:  # a file that changes, or one that we may not read
        return replace(bare, flaw=f"{name} cannot be read: {error}")


def _transformer(bare: Facts, checkpoint: Checkpoint) -> Facts:
    task, expert = task_and_expert(checkpoint, bare.name)
    if "head.head.weight" in checkpoint.tensors:
        config = transformer_config(checkpoint)
    else:
        config = dict(own_config(checkpoint.path))
        if "in_channels" not in config:
            raise CannotLoad(f"{bare.name} has diffusers' names, and no configuration lies beside it")
    return replace(
        _sized(bare, checkpoint, _LOADED_BYTES),
        task=task,
        expert=expert,
        channels=config.get("out_channels"),
        width=config.get("text_dim"),
        multiplies_float8=checkpoint.multiplies_float8,
    )


def _text_encoder(bare: Facts, checkpoint: Checkpoint) -> Facts:
    names = ("shared.weight", "encoder.embed_tokens.weight", "token_embedding.weight")
    embedding = next((tensor for name in names if (tensor := checkpoint.tensors.get(name))), None)
    if embedding is None or len(embedding.shape) != 2:
        raise CannotLoad(f"{bare.name}: {names[0]} is missing")
    sized = _sized(bare, checkpoint, _LOADED_BYTES)
    return replace(sized, width=embedding.shape[1], has_tokenizer=checkpoint.tokenizer is not None)


def _vae(bare: Facts, checkpoint: Checkpoint) -> Facts:
    latent = checkpoint.tensors.get("conv2.weight") or checkpoint.tensors.get("post_quant_conv.weight")
    if latent is None:
        raise CannotLoad(f"{bare.name}: this is not a Wan VAE")
    return replace(_sized(bare, checkpoint, _LOADED_VAE_BYTES), channels=latent.shape[0])


_READERS: dict[Component, Callable[[Facts, Checkpoint], Facts]] = {
    "transformer": _transformer,
    "text_encoder": _text_encoder,
    "vae": _vae,
}


def _sized(bare: Facts, checkpoint: Checkpoint, number_bytes: int) -> Facts:
    size = sum(
        tensor.numbers * (1 if stays_float8(name, tensor) else number_bytes)
        for name, tensor in checkpoint.tensors.items()
    )
    return replace(bare, form=checkpoint.form, size_bytes=size)


def _pickled(bare: Facts) -> Facts:
    """torch alone reads these; their name, their end and their size tell enough to plan with."""
    try:
        size, flaw = bare.path.stat().st_size, flaw_of(bare.path)
    except OSError as error:
        return replace(bare, flaw=f"{bare.name} cannot be read: {error.strerror}")
    if flaw:
        return replace(bare, flaw=f"{bare.name} is damaged: {flaw}")
    config = own_config(bare.path)
    if found := _PICKLED_VAE.search(bare.name):
        channels = config.get("z_dim", 16 if found[1] == "1" else 48)
        return replace(bare, component="vae", form="fp32", size_bytes=size, channels=channels)
    if _PICKLED_TEXT.search(bare.name):
        width = config.get("d_model", UMT5_XXL["d_model"])
        return replace(bare, component="text_encoder", form="bf16", size_bytes=size, width=width)
    return replace(bare, component=None)


def _task_named(name: str) -> str | None:
    words = {"ti2v": "ti2v-5B", "t2v": "t2v-A14B", "i2v": "i2v-A14B"}
    return next((task for word, task in words.items() if has_word(name.lower().replace("_", "-"), word)), None)
