"""Decode a clip one latent frame after the other, so that it can stop or hand frames over between two."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import unpatchify


def decoded(vae: Any, latents: torch.Tensor) -> Generator[torch.Tensor, None, None]:
    """
    Yield the clip of *latents*, shape (1, channels, n, h, w), in n pieces of shape (3, frames, height, width), -1 to 1.

    The first piece has one frame, each later one as many as the VAE packs into a latent frame. All pieces together are
    bit for bit what `vae.decode` returns, which does the same and keeps every piece on the device until the end.
    With tiles the VAE decodes the whole clip at once, and the pieces are cut from it. Whatever happens, the VAE keeps
    nothing of the clip: its cache of 6 to 8 GiB would stay with an error otherwise.
    """
    vae.clear_cache()
    with contextlib.ExitStack() as at_end:
        at_end.callback(vae.clear_cache)
        yield from _cut(vae, latents) if vae.use_tiling else _streamed(vae, latents)


def denormalised(vae: Any, latents: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return *latents* on *device* as the VAE takes them. The pipelines do the same at their end."""
    shape = (1, vae.config.z_dim, 1, 1, 1)
    latents = latents.to(device, vae.dtype)
    mean = torch.tensor(vae.config.latents_mean).view(shape).to(latents)
    spread = torch.tensor(vae.config.latents_std).view(shape).to(latents)
    return latents * spread + mean


def _streamed(vae: Any, latents: torch.Tensor) -> Iterator[torch.Tensor]:
    unpacked = vae.post_quant_conv(latents)
    for index in range(latents.shape[2]):
        vae._conv_idx = [0]
        first = {"first_chunk": True} if index == 0 else {}
        piece = vae.decoder(
            unpacked[:, :, index : index + 1], feat_cache=vae._feat_map, feat_idx=vae._conv_idx, **first
        )
        if vae.config.patch_size is not None:
            piece = unpatchify(piece, patch_size=vae.config.patch_size)
        yield torch.clamp(piece, min=-1.0, max=1.0)[0]


def _cut(vae: Any, latents: torch.Tensor) -> Iterator[torch.Tensor]:
    clip = vae.decode(latents, return_dict=False)[0][0]
    yield clip[:, :1]
    yield from clip[:, 1:].split(vae.config.scale_factor_temporal, dim=1)
