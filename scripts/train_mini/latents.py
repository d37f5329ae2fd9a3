"""The latent cache: clips drawn and encoded once, their scenes beside them: a denoiser's step costs no drawing."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy
import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from train_mini import checkpoint
from train_mini.parallel import Ranks
from train_mini.renderer import draw_clip
from train_mini.scene import Scene, Thing, draw_scene
from train_mini.vae import as_input

log = logging.getLogger(__name__)

_STAGE = 3

#: A shard is written whole, so that an interrupted cache loses one at most.
SHARD_CLIPS = 500
_TOGETHER = 4


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """How many clips, and how many of them also as a picture to begin with."""

    clips: int = 20_000
    pictures: int = 8_000
    seed: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Cache:
    """Latents (clips, channels, frames, height, width) of mean 0 and spread 1, and the scene of each."""

    latents: Tensor
    scenes: list[Scene]
    #: Wan 2.2's condition for picture to video, for the first clips only: the first frame, then grey, encoded.
    pictures: Tensor


def fill(folder: Path, plan: Plan, ranks: Ranks) -> None:
    """Write the shards that *folder* lacks; every process takes its share."""
    vae = AutoencoderKLWan.from_pretrained(folder / "vae").eval()
    for shard in range(ranks.rank, -(-plan.clips // SHARD_CLIPS), ranks.count):
        path = _shard(folder, shard)
        if path.exists():
            continue
        with_pictures = (shard + 1) * SHARD_CLIPS <= plan.pictures
        checkpoint.save(path, _encoded(vae, plan, shard, with_pictures=with_pictures))
        log.info("latents: shard %d of %d", shard + 1, -(-plan.clips // SHARD_CLIPS))


def read(folder: Path) -> Cache:
    """Read what `fill` wrote."""
    shards = [torch.load(path, weights_only=True) for path in sorted((folder / "latents").glob("*.pt"))]
    scenes = [_scene(each) for shard in shards for each in json.loads(shard["scenes"])]
    pictures = [shard["pictures"] for shard in shards if "pictures" in shard]
    latents = torch.cat([shard["latents"] for shard in shards])
    return Cache(latents, scenes, torch.cat(pictures) if pictures else latents[:0])


@torch.no_grad()
def picture_condition(vae: AutoencoderKLWan, clips: Tensor) -> Tensor:
    """Return what Wan 2.2 gives its picture experts: the first frame of *clips*, every later one grey, encoded."""
    grey = torch.zeros_like(clips)
    grey[:, :, 0] = clips[:, :, 0]
    encoded: Tensor = vae.encode(grey).latent_dist.mean
    return encoded


def _shard(folder: Path, shard: int) -> Path:
    return folder / "latents" / f"{shard:04d}.pt"


@torch.no_grad()
def _encoded(vae: AutoencoderKLWan, plan: Plan, shard: int, *, with_pictures: bool) -> dict[str, object]:
    rng = numpy.random.default_rng([plan.seed, _STAGE, shard])
    scenes = [draw_scene(rng) for _ in range(SHARD_CLIPS)]
    latents, pictures = [], []
    for batch in _batches(scenes):
        clips = as_input(numpy.stack([draw_clip(each, rng).pixels for each in batch]))
        latents.append(vae.encode(clips).latent_dist.mean.half())
        if with_pictures:
            pictures.append(picture_condition(vae, clips).half())
    found: dict[str, object] = {
        "latents": torch.cat(latents),
        "scenes": json.dumps([dataclasses.asdict(each) for each in scenes]),
    }
    return found | ({"pictures": torch.cat(pictures)} if pictures else {})


def _batches(scenes: list[Scene]) -> Iterator[list[Scene]]:
    for first in range(0, len(scenes), _TOGETHER):
        yield scenes[first : first + _TOGETHER]


def _scene(fields: dict[str, object]) -> Scene:
    things = tuple(Thing(**each) for each in fields["things"])  # type: ignore[attr-defined]
    return Scene(things, fields["motion"], fields["background"], fields["relation"])  # type: ignore[arg-type]
