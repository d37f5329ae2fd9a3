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
_CPU = torch.device("cpu")

#: A shard is written whole, so that an interrupted cache loses one at most.
SHARD_CLIPS = 500
_TOGETHER = 4


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """How many clips, and of how many of them the first frame too, as the experts' condition."""

    clips: int = 16_000
    pictures: int = 6_000
    seed: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Cache:
    """Latents (clips, channels, frames, height, width) of mean 0 and spread 1, and the scene of each."""

    latents: Tensor
    scenes: list[Scene]
    #: Wan 2.2's condition for picture to video, for the first clips only: the first frame, then grey, encoded.
    pictures: Tensor


def fill(folder: Path, plan: Plan, ranks: Ranks, device: torch.device = _CPU) -> None:
    """Write the shards of clips that *folder* lacks; every process takes its share."""
    vae = AutoencoderKLWan.from_pretrained(folder / "vae").to(device).eval()
    for shard, path in _missing(folder / "latents", plan.clips, ranks):
        scenes, clips = _drawn(plan.seed, shard)
        checkpoint.save(path, {
            "latents": torch.cat([encode(vae, each.to(device)).half().cpu() for each in clips]),
            "scenes": json.dumps([dataclasses.asdict(each) for each in scenes]),
        })  # fmt: skip
        log.info("latents: shard %d is written", shard)


def fill_pictures(folder: Path, plan: Plan, ranks: Ranks, device: torch.device = _CPU) -> None:
    """Write the shards of pictures that *folder* lacks: of the same clips, drawn again."""
    vae = AutoencoderKLWan.from_pretrained(folder / "vae").to(device).eval()
    for shard, path in _missing(folder / "pictures", plan.pictures, ranks):
        _, clips = _drawn(plan.seed, shard)
        checkpoint.save(
            path, {"pictures": torch.cat([picture_condition(vae, each.to(device)).half().cpu() for each in clips])}
        )
        log.info("pictures: shard %d is written", shard)


def read(folder: Path) -> Cache:
    """Read what is written by now. Raises ValueError where a shard between others is missing."""
    shards = [torch.load(path, weights_only=True) for path in sorted((folder / "latents").glob("*.pt"))]
    scenes = [_scene(each) for shard in shards for each in json.loads(shard["scenes"])]
    latents = torch.cat([shard["latents"] for shard in shards])
    found = sorted((folder / "pictures").glob("*.pt"))
    for paths in (sorted((folder / "latents").glob("*.pt")), found):
        if [path.stem for path in paths] != [f"{number:04d}" for number in range(len(paths))]:
            raise ValueError(f"{folder} lacks a shard before {paths[-1].name}: pictures would stand beside other clips")
    pictures = [torch.load(path, weights_only=True)["pictures"] for path in found]
    return Cache(latents, scenes, torch.cat(pictures) if pictures else latents[:0])


@torch.no_grad()
def encode(vae: AutoencoderKLWan, clips: Tensor) -> Tensor:
    """Return the latents of *clips* without the autoencoder's own noise."""
    latents: Tensor = vae.encode(clips).latent_dist.mean
    return latents


def picture_condition(vae: AutoencoderKLWan, clips: Tensor) -> Tensor:
    """Return what Wan 2.2 gives its picture experts: the first frame of *clips*, every later one grey, encoded."""
    grey = torch.zeros_like(clips)
    grey[:, :, 0] = clips[:, :, 0]
    return encode(vae, grey)


def _missing(folder: Path, clips: int, ranks: Ranks) -> Iterator[tuple[int, Path]]:
    for shard in range(ranks.rank, -(-clips // SHARD_CLIPS), ranks.count):
        path = folder / f"{shard:04d}.pt"
        if not path.exists():
            yield shard, path


def _drawn(seed: int, shard: int) -> tuple[list[Scene], Iterator[Tensor]]:
    """Return the scenes of a shard and its clips, some at a time."""
    rng = numpy.random.default_rng([seed, _STAGE, shard])
    scenes = [draw_scene(rng) for _ in range(SHARD_CLIPS)]

    def clips() -> Iterator[Tensor]:
        for first in range(0, len(scenes), _TOGETHER):
            yield as_input(numpy.stack([draw_clip(each, rng).pixels for each in scenes[first : first + _TOGETHER]]))

    return scenes, clips()


def _scene(fields: dict[str, object]) -> Scene:
    things = tuple(Thing(**each) for each in fields["things"])  # type: ignore[attr-defined]
    return Scene(things, fields["motion"], fields["background"], fields["relation"])  # type: ignore[arg-type]
