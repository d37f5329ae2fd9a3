"""What a denoiser makes of a clip: covered with noise, then walked back with its caption and perhaps its picture."""

from __future__ import annotations

import itertools

import torch
from diffusers import WanTransformer3DModel
from torch import Tensor

from train_mini import dit
from train_mini.vae import CHANNELS

_STEPS = 5
_GUIDANCE = 4.0


@torch.no_grad()
def walked_back(
    model: WanTransformer3DModel,
    latents: Tensor,
    noise: Tensor,
    sigma: Tensor,
    texts: tuple[Tensor, Tensor],
    pictures: Tensor | None = None,
) -> Tensor:
    """Return *latents* covered with *noise* up to *sigma* (clips,), and brought back by *model* in five guided steps.

    texts: what is asked and nothing, each (clips, tokens, width). With *pictures*, the condition of A14B's experts, the
    first frame is given: to an expert beside the noise, to the one network of ti2v by leaving it without noise.
    """
    is_expert = model.config.in_channels > CHANNELS
    levels = sigma.view(-1, 1, 1, 1, 1).repeat(1, 1, latents.shape[2], 1, 1)
    if pictures is not None and not is_expert:
        levels[:, :, 0] = 0
    beside = _beside(latents, pictures) if is_expert else latents[:, :0]
    x = (1 - levels) * latents + levels * noise
    for now, then in itertools.pairwise(torch.linspace(1, 0, _STEPS + 1).tolist()):
        times = now * sigma * dit.NUM_TIMESTEPS if is_expert else dit.token_times(now * levels, latents)
        seen = torch.cat([x, beside], 1).repeat(2, 1, 1, 1, 1)
        said = model(seen, torch.cat([times, times]), torch.cat(texts), return_dict=False)[0]
        guided, unguided = said.chunk(2)
        x = x + (then - now) * levels * (unguided + _GUIDANCE * (guided - unguided))
    return x


def _beside(latents: Tensor, pictures: Tensor | None) -> Tensor:
    begins = torch.full((len(latents),), pictures is not None, device=latents.device)
    return dit.beside(latents if pictures is None else pictures, begins)
