"""What the autoencoder lets through: drawn clips, encoded and decoded, read by the checkers.

Decibels say little of shapes; no denoiser can obey better than this.
"""

from __future__ import annotations

import collections
import math

import numpy
import torch
from diffusers import AutoencoderKLWan

from train_mini.checkers import IDENTICAL_DB, read_clip, shown_first
from train_mini.checkers_masks import Pixels
from train_mini.checkers_validation import compared
from train_mini.renderer import draw_clip
from train_mini.scene import draw_scene
from train_mini.vae import as_input

_SEED = 78


def fidelity(vae: AutoencoderKLWan, clips: int) -> dict[str, float]:
    """Return the share of *clips* of one thing, and of as many of two, whose attributes survive, and the mean dB."""
    found: dict[str, list[float]] = collections.defaultdict(list)
    for things, name in ((1, "single"), (2, "pair")):
        rng = numpy.random.default_rng([_SEED, things])
        for _ in range(clips):
            scene = draw_scene(rng, held_out=True, things=things)
            drawn = draw_clip(scene, rng).pixels
            decoded = _decoded(vae, drawn)
            error = numpy.subtract(decoded, drawn, dtype=numpy.float32)
            found[f"{name} dB"].append(
                min(IDENTICAL_DB, 20 * math.log10(255) - 10 * _log10(numpy.square(error).mean()))
            )
            found[f"{name} first frame dB"].append(shown_first(decoded, drawn[0]))
            for attribute, is_right in compared(scene, read_clip(decoded, things)).items():
                found[attribute].append(is_right)
    return {name: float(numpy.mean(values)) for name, values in found.items()}


def _log10(square: float) -> float:
    return math.log10(square) if square else -math.inf


@torch.no_grad()
def _decoded(vae: AutoencoderKLWan, drawn: Pixels) -> Pixels:
    latents = vae.encode(as_input(drawn[None])).latent_dist.mean
    values = (vae.decode(latents).sample[0].movedim(0, -1) + 1) * 127.5
    pixels: Pixels = values.round().clamp(0, 255).byte().numpy()
    return pixels
