"""What a denoiser's clips look like: in latents every error weighs alike, but it is blunt corners that are seen."""

from __future__ import annotations

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor
from torch.nn import functional

from train_mini.outlines import looks_apart
from train_mini.vae import cut, decode_freely

#: What is looked at of each clip is the window in which it is most wrong; its side, in latents.
_SIDE = 4


def apart(autoencoder: AutoencoderKLWan, clean: Tensor, latents: Tensor) -> Tensor:
    """Return how far *clean* looks from *latents* where it is most wrong, a mean over the clips; 0 is the same.

    Both are (clips, channels, frames, height, width), of 4 rows and columns or more. A gradient reaches
    *clean* alone where *autoencoder* is frozen.
    """
    windows = _worst((clean - latents).detach())
    with torch.no_grad():
        asked = decode_freely(autoencoder, cut(latents, windows))
    seen = decode_freely(autoencoder, cut(clean, windows))
    return looks_apart(seen, asked, None)  # the latent cache keeps no masks


def _worst(errors: Tensor) -> list[tuple[slice, slice]]:
    """Return rows and columns of each clip's window with the largest error."""
    means = functional.avg_pool2d(errors.square().mean((1, 2))[:, None], _SIDE, 1)[:, 0]
    places = [divmod(int(each.argmax()), each.shape[1]) for each in means]
    return [(slice(top, top + _SIDE), slice(left, left + _SIDE)) for top, left in places]
