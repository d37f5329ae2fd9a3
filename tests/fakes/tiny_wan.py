"""
Write tiny Wan 2.2 folders with random weights, and LoRAs for them: the released models' classes and wiring, ~100 kB.

`write` makes {t2v,i2v,ti2v,...} and loras in a folder. Layer sizes follow diffusers' own tests. It runs in the process
of the tests, which has torch for other tests anyway: a process of its own would import all of it once more.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKLWan,
    UniPCMultistepScheduler,
    WanImageToVideoPipeline,
    WanPipeline,
    WanTransformer3DModel,
)
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

TEXT_DIM = 32


def tokenizer() -> Any:
    """Return a tokenizer that reads any text, byte by byte."""
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -1.0)]
    vocabulary += [(f"<0x{byte:02X}>", -6.0) for byte in range(256)]
    made = Tokenizer(models.Unigram(vocabulary, unk_id=2, byte_fallback=True))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=512, **special)


def text_encoder() -> Any:
    """Return a text encoder of two layers."""
    torch.manual_seed(0)
    sizes = {"d_model": TEXT_DIM, "d_kv": 8, "d_ff": 37, "num_layers": 2, "num_heads": 4}
    return UMT5EncoderModel(
        UMT5Config(vocab_size=260, relative_attention_num_buckets=8, tie_word_embeddings=False, **sizes)
    ).eval()


def vae(channels: int) -> Any:
    """Return Wan 2.1's VAE (16 channels) or Wan 2.2's (48)."""
    torch.manual_seed(0)
    common = {"base_dim": 3, "dim_mult": [1, 1, 1, 1], "num_res_blocks": 1, "temperal_downsample": [False, True, True]}
    if channels == 16:
        return AutoencoderKLWan(z_dim=16, **common).eval()
    means = {"latents_mean": [0.0] * 48, "latents_std": [1.0] * 48}
    patched = {"in_channels": 12, "out_channels": 12, "is_residual": True, "patch_size": 2}
    return AutoencoderKLWan(
        z_dim=48, scale_factor_spatial=16, scale_factor_temporal=4, **means, **patched, **common
    ).eval()


def transformer(in_channels: int, out_channels: int, seed: int) -> Any:
    """Return a transformer of two layers."""
    torch.manual_seed(seed)
    sizes = {"num_attention_heads": 2, "attention_head_dim": 12, "ffn_dim": 32, "num_layers": 2, "freq_dim": 256}
    return WanTransformer3DModel(
        patch_size=(1, 2, 2), in_channels=in_channels, out_channels=out_channels, text_dim=TEXT_DIM,
        cross_attn_norm=True, qk_norm="rms_norm_across_heads", rope_max_seq_len=32, **sizes,
    ).eval()  # fmt: skip


def pipeline(kind: Any, in_channels: int, out_channels: int, **config: Any) -> Any:
    """Return a pipeline; two experts where there is a boundary between them."""
    low = transformer(in_channels, out_channels, 1) if "boundary_ratio" in config else None
    return kind(
        tokenizer=tokenizer(),
        text_encoder=text_encoder(),
        vae=vae(out_channels),
        scheduler=UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0),
        transformer=transformer(in_channels, out_channels, 0),
        transformer_2=low,
        **config,
    )


def lora(path: Path, seed: int, *, prefix: str = "diffusion_model.blocks") -> None:
    """Write a LoRA of rank 4 with ComfyUI's names, as lightx2v and most others publish theirs."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for block in range(2):
        for name in ("self_attn.q", "self_attn.v", "cross_attn.k", "cross_attn.o"):
            key = f"{prefix}.{block}.{name}"
            tensors[f"{key}.lora_down.weight"] = torch.randn(4, 24, generator=generator)
            tensors[f"{key}.lora_up.weight"] = torch.randn(24, 4, generator=generator)
            tensors[f"{key}.alpha"] = torch.tensor(4.0)
    save_file(tensors, path)


def write(folder: Path) -> None:
    """Write everything below *folder*."""
    pipeline(WanPipeline, 16, 16, boundary_ratio=0.875).save_pretrained(folder / "t2v")
    pipeline(WanImageToVideoPipeline, 36, 16, boundary_ratio=0.9).save_pretrained(folder / "i2v")
    pipeline(WanPipeline, 48, 48, expand_timesteps=True).save_pretrained(folder / "ti2v")
    pipeline(WanPipeline, 48, 48, expand_timesteps=True).save_pretrained(folder / "distilled")
    index = folder / "distilled" / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "_class_name": "WanDMDPipeline"}))
    (folder / "loras").mkdir()
    lora(folder / "loras" / "style_high_noise.safetensors", 1)
    lora(folder / "loras" / "style_low_noise.safetensors", 2)
    lora(folder / "loras" / "plain.safetensors", 3)
    lora(folder / "loras" / "foreign.safetensors", 4, prefix="text_model.encoder.layers")
