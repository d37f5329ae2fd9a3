"""The latent cache: what is written once, taken up again and read back."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy
import pytest
import torch
from diffusers import AutoencoderKLWan, WanImageToVideoPipeline
from torch import Tensor

from train_mini import checkpoint, dit
from train_mini.latents import SHARD_CLIPS, Plan, _drawn, _missing, encode, fill, fill_pictures, picture_condition, read
from train_mini.parallel import Ranks
from train_mini.renderer import draw_clip
from train_mini.scene import Scene, Thing, draw_scene
from train_mini.vae import CHANNELS, as_input


def quick_vae() -> AutoencoderKLWan:
    """Return an autoencoder of the miniature's shape that costs a hundredth of its time."""
    torch.manual_seed(0)
    return AutoencoderKLWan(
        base_dim=4, z_dim=CHANNELS, dim_mult=[1, 1, 1], num_res_blocks=1, temperal_downsample=[True, True],
        is_residual=True, patch_size=4, in_channels=48, out_channels=48,
        scale_factor_spatial=16, scale_factor_temporal=4, latents_mean=[0.0] * CHANNELS, latents_std=[1.0] * CHANNELS,
    )  # fmt: skip


@pytest.fixture(scope="module")
def vae() -> AutoencoderKLWan:
    return quick_vae().eval()


@pytest.fixture(scope="module")
def clips() -> Tensor:
    rng = numpy.random.default_rng(0)
    return as_input(numpy.stack([draw_clip(draw_scene(rng), rng, frames=9, side=32).pixels for _ in range(2)]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an autoencoder that is no one's: a shard that is drawn again shows."""
    folder = tmp_path_factory.mktemp("cache")
    quick_vae().save_pretrained(folder / "vae")
    return folder


def shard(first: float, scenes: list[Scene]) -> dict[str, object]:
    values = torch.full((len(scenes), CHANNELS, 1, 1, 1), first) + torch.arange(len(scenes)).view(-1, 1, 1, 1, 1)
    return {"latents": values.half(), "scenes": json.dumps([dataclasses.asdict(each) for each in scenes])}


def drawn(count: int) -> list[Scene]:
    rng = numpy.random.default_rng(4)
    return [draw_scene(rng) for _ in range(count)]


class Rank(Ranks):
    """One of several processes, without the others."""

    def __init__(self, rank: int, count: int) -> None:
        super().__init__()
        self.rank, self.count = rank, count


def test_shards_that_are_written_are_not_written_again(folder: Path) -> None:
    for name, content in (("latents", shard(0, drawn(2))), ("pictures", {"pictures": torch.ones(1)})):
        for index in range(2):
            checkpoint.save(folder / name / f"{index:04d}.pt", content)
    paths = sorted(folder.glob("*/*.pt"))
    before = [(path.stat().st_mtime_ns, path.read_bytes()) for path in paths]
    plan = Plan(clips=2 * SHARD_CLIPS, pictures=SHARD_CLIPS + 1)
    fill(folder, plan, Ranks())
    fill_pictures(folder, plan, Ranks())

    assert before == [(path.stat().st_mtime_ns, path.read_bytes()) for path in paths]
    assert paths == sorted(folder.glob("*/*.pt"))


def test_processes_share_the_missing_shards(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "0002.pt", {})
    missing = [[path.name for _, path in _missing(tmp_path, 4 * SHARD_CLIPS + 1, Rank(rank, 2))] for rank in (0, 1)]

    assert [["0000.pt", "0004.pt"], ["0001.pt", "0003.pt"]] == missing


def test_a_shard_has_its_own_scenes_and_its_first_clips_show_the_first_of_them() -> None:
    scenes, clips = _drawn(7, 3)
    again, _ = _drawn(7, 3)
    others, _ = _drawn(7, 4)
    # As pictures of the same clips are drawn: all scenes first, then one clip after another.
    rng = numpy.random.default_rng([7, 3, 3])
    for _ in scenes:
        draw_scene(rng)
    shown = [as_input(draw_clip(each, rng).pixels) for each in scenes[:4]]

    assert SHARD_CLIPS == len(scenes)
    assert scenes == again != others
    assert torch.equal(torch.stack(shown), next(clips))


def test_scenes_survive_the_cache(tmp_path: Path) -> None:
    scenes = [*drawn(40), Scene((Thing(None, "ball", None),), None, None)]
    checkpoint.save(tmp_path / "latents" / "0000.pt", shard(0, scenes))

    assert scenes == read(tmp_path).scenes


def test_a_cache_is_read_in_the_order_of_its_shards(tmp_path: Path) -> None:
    for index in (2, 0, 1):
        checkpoint.save(tmp_path / "latents" / f"{index:04d}.pt", shard(5 * index, drawn(2)))
    cache = read(tmp_path)

    assert [0, 1, 5, 6, 10, 11] == cache.latents[:, 0, 0, 0, 0].tolist()
    assert 6 == len(cache.scenes)
    assert (0, CHANNELS, 1, 1, 1) == cache.pictures.shape


def test_pictures_are_read_for_the_first_clips(tmp_path: Path) -> None:
    for index in range(2):
        checkpoint.save(tmp_path / "latents" / f"{index:04d}.pt", shard(index, drawn(2)))
    checkpoint.save(tmp_path / "pictures" / "0000.pt", {"pictures": torch.full((2, CHANNELS, 1, 1, 1), 5.0)})

    assert [5, 5] == read(tmp_path).pictures[:, 0, 0, 0, 0].tolist()


def test_a_cache_with_a_hole_is_refused(tmp_path: Path) -> None:
    for index in (0, 2):
        checkpoint.save(tmp_path / "latents" / f"{index:04d}.pt", {"latents": torch.zeros(1, 1), "scenes": "[]"})

    with pytest.raises(ValueError, match=r"lacks a shard before 0002\.pt"):
        read(tmp_path)


@torch.no_grad()
def test_a_latent_is_the_autoencoders_mean(vae: AutoencoderKLWan, clips: Tensor) -> None:
    assert (2, CHANNELS, 3, 2, 2) == encode(vae, clips).shape
    assert torch.equal(vae.encode(clips).latent_dist.mode(), encode(vae, clips))


def test_a_pictures_condition_sees_the_first_frame_only(vae: AutoencoderKLWan, clips: Tensor) -> None:
    others, changed = clips.clone(), clips.clone()
    others[:, :, 1:] = others[:, :, 1:].flip(2) * 0.5
    changed[:, :, 0] *= -1
    condition = picture_condition(vae, clips)

    assert torch.equal(condition, picture_condition(vae, others))
    assert not torch.allclose(condition, picture_condition(vae, changed), atol=1e-3)
    assert torch.allclose(encode(vae, clips[:, :, :1]), condition[:, :, :1], atol=1e-5)


@torch.no_grad()
def test_mask_and_picture_are_what_diffusers_gives_its_experts(vae: AutoencoderKLWan, clips: Tensor) -> None:
    pipe = WanImageToVideoPipeline(None, None, vae, None)
    _, condition = pipe.prepare_latents(
        clips[:1, :, 0], 1, CHANNELS, 32, 32, 9, torch.float32, torch.device("cpu"), torch.Generator().manual_seed(0)
    )

    assert torch.equal(condition, dit.beside(picture_condition(vae, clips[:1]), torch.tensor([True])))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_shard_is_drawn_encoded_and_taken_up_again(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "vae").symlink_to(folder / "vae")
    plan = Plan(clips=SHARD_CLIPS, pictures=SHARD_CLIPS, seed=2)
    for stage in (fill, fill_pictures):
        stage(tmp_path, plan, Ranks())
    cache = read(tmp_path)
    vae = AutoencoderKLWan.from_pretrained(folder / "vae").eval()
    scenes, clips = _drawn(2, 0)
    first = next(clips)

    assert scenes == cache.scenes
    assert torch.equal(encode(vae, first).half(), cache.latents[:4])
    assert torch.equal(picture_condition(vae, first).half(), cache.pictures[:4])
    assert (SHARD_CLIPS, CHANNELS, 5, 8, 8) == cache.latents.shape == cache.pictures.shape
