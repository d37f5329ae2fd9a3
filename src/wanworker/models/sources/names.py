"""The names of the same tensors in upstream's and ComfyUI's files, in diffusers and in transformers. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

#: Upstream's words in a transformer's names, each with diffusers' (scripts/convert_wan_to_diffusers.py).
_TRANSFORMER = (
    ("time_embedding.0.", "condition_embedder.time_embedder.linear_1."),
    ("time_embedding.2.", "condition_embedder.time_embedder.linear_2."),
    ("text_embedding.0.", "condition_embedder.text_embedder.linear_1."),
    ("text_embedding.2.", "condition_embedder.text_embedder.linear_2."),
    ("time_projection.1.", "condition_embedder.time_proj."),
    ("head.head.", "proj_out."),
    ("head.modulation", "scale_shift_table"),
    (".modulation", ".scale_shift_table"),
    (".self_attn.", ".attn1."),
    (".cross_attn.", ".attn2."),
    (".q.", ".to_q."),
    (".k.", ".to_k."),
    (".v.", ".to_v."),
    (".o.", ".to_out.0."),
    (".ffn.0.", ".ffn.net.0.proj."),
    (".ffn.2.", ".ffn.net.2."),
)

#: Upstream counts the norms as they are made, diffusers as they are used.
_NORMS = {".norm2.": ".norm3.", ".norm3.": ".norm2."}

#: The same for the text encoder's blocks: upstream's wan/modules/t5.py, and transformers' UMT5EncoderModel.
_TEXT = (
    (".norm1.", ".layer.0.layer_norm."),
    (".norm2.", ".layer.1.layer_norm."),
    (".attn.", ".layer.0.SelfAttention."),
    (".pos_embedding.embedding.", ".layer.0.SelfAttention.relative_attention_bias."),
    (".ffn.gate.0.", ".layer.1.DenseReluDense.wi_0."),
    (".ffn.fc1.", ".layer.1.DenseReluDense.wi_1."),
    (".ffn.fc2.", ".layer.1.DenseReluDense.wo."),
)
_TEXT_TOP = {"token_embedding.weight": "shared.weight", "norm.weight": "encoder.final_layer_norm.weight"}

_VAE_TOP = (
    ("encoder.conv1.", "encoder.conv_in."),
    ("decoder.conv1.", "decoder.conv_in."),
    ("encoder.head.0.", "encoder.norm_out."),
    ("decoder.head.0.", "decoder.norm_out."),
    ("encoder.head.2.", "encoder.conv_out."),
    ("decoder.head.2.", "decoder.conv_out."),
    ("conv1.", "quant_conv."),
    ("conv2.", "post_quant_conv."),
)
_VAE_RESIDUAL = (
    (".residual.0.", ".norm1."),
    (".residual.2.", ".conv1."),
    (".residual.3.", ".norm2."),
    (".residual.6.", ".conv2."),
    (".shortcut.", ".conv_shortcut."),
)
_FLAT_UPSAMPLE = re.compile(r"^decoder\.upsamples\.(\d+)\.(.*)$")
_NESTED = re.compile(r"^(?:en|de)coder\.(?:down|up)samples\.\d+\.(?:down|up)samples\.")


def transformer_names(names: Iterable[str]) -> dict[str, str]:
    """Return each of *names*, upstream's or diffusers' own, with diffusers' name for it."""
    found = tuple(names)
    is_diffusers = any(name.startswith("condition_embedder.") for name in found)
    return {name: name if is_diffusers else _transformer_name(name) for name in found}


def text_encoder_names(names: Iterable[str]) -> dict[str, str]:
    """Return each of *names*, upstream's or transformers' own (ComfyUI keeps those), with transformers' name for it."""
    found = tuple(names)
    is_upstream = "token_embedding.weight" in found
    return {name: _text_name(name) if is_upstream else name for name in found}


def vae_names(names: Iterable[str]) -> dict[str, str]:
    """Return each of *names* of either VAE (2.1, 2.2), upstream's or diffusers', with diffusers' name for it."""
    found = tuple(names)
    if "encoder.conv1.weight" not in found:
        return {name: name for name in found}
    if any(_NESTED.match(name) for name in found):
        return {name: _residual_vae_name(name) for name in found}
    stage = _blocks_in_a_stage(found)
    return {name: _plain_vae_name(name, stage) for name in found}


def _transformer_name(name: str) -> str:
    if name.startswith("blocks."):
        for old, new in _NORMS.items():
            if old in name:
                return name.replace(old, new)
    return _replaced(name, _TRANSFORMER)


def _text_name(name: str) -> str:
    if name in _TEXT_TOP:
        return _TEXT_TOP[name]
    return _replaced(f"encoder.block.{name.removeprefix('blocks.')}" if name.startswith("blocks.") else name, _TEXT)


def _blocks_in_a_stage(names: Iterable[str]) -> int:
    """
    Return how many parts of the flat decoder make a stage: its residual blocks, and what makes it larger.

    The first part with `resample` is the end of the first stage.
    """
    ends = [int(match[1]) for name in names if (match := _FLAT_UPSAMPLE.match(name)) and "resample" in match[2]]
    return min(ends, default=0) + 1


def _plain_vae_name(name: str, stage: int) -> str:
    """Wan 2.1: the encoder's parts are one list in diffusers too, the decoder's are stages."""
    if match := _FLAT_UPSAMPLE.match(name):
        block, part = divmod(int(match[1]), stage)
        kind = "upsamplers.0" if part == stage - 1 else f"resnets.{part}"
        return _replaced(f"decoder.up_blocks.{block}.{kind}.{match[2]}", _VAE_RESIDUAL)
    renamed = _middle(name, _VAE_TOP).replace("encoder.downsamples.", "encoder.down_blocks.")
    return _replaced(renamed, _VAE_RESIDUAL)


def _residual_vae_name(name: str) -> str:
    """Wan 2.2: stages within both halves, each with residual blocks and perhaps one part that changes the size."""
    renamed = _middle(name, _VAE_TOP)
    renamed = renamed.replace("encoder.downsamples.", "encoder.down_blocks.")
    renamed = renamed.replace("decoder.upsamples.", "decoder.up_blocks.")
    if ".residual." in renamed or ".shortcut." in renamed:
        return _replaced(re.sub(r"\.(?:down|up)samples\.", ".resnets.", renamed), _VAE_RESIDUAL)
    return re.sub(r"\.(down|up)samples\.\d+\.", r".\1sampler.", renamed)


def _middle(name: str, top: Iterable[tuple[str, str]]) -> str:
    for old, new in top:
        if name.startswith(old):
            return new + name.removeprefix(old)
    name = re.sub(r"\.middle\.([02])\.", lambda match: f".mid_block.resnets.{int(match[1]) // 2}.", name)
    return name.replace(".middle.1.", ".mid_block.attentions.0.")


def _replaced(name: str, words: Iterable[tuple[str, str]]) -> str:
    for old, new in words:
        name = name.replace(old, new)
    return name
