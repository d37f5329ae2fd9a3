"""The decoder's second training: on what denoisers make of clips, the encoder untouched."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy
import pytest
import torch
from diffusers import AutoencoderKLWan
from torch import Tensor, nn

from train_mini import decoder, export
from train_mini.decoder import Plan, _Run, walked_back
from train_mini.parallel import Ranks
from train_mini.vae import CHANNELS

CPU = torch.device("cpu")
PLAN = Plan(steps=2, seed=3)


@pytest.fixture
def folder(work: Path, tmp_path: Path) -> Path:
    """Return a folder with what the stages before leave."""
    for name in ("vae", "text_encoder", "tokenizer", "ti2v", "high", "low"):
        (tmp_path / name).symlink_to(work / name)
    return tmp_path


class Knowing(nn.Module):
    """A denoiser who knows the clip, and says so twice as loud with a text as without."""

    def __init__(self, clip: Tensor, in_channels: int) -> None:
        super().__init__()
        self.clip, self.seen, self.times = clip, [], []
        self.config = type("Config", (), {"in_channels": in_channels})

    def forward(self, seen: Tensor, time: Tensor, text: Tensor, *, return_dict: bool) -> tuple[Tensor]:
        self.seen.append(seen)
        self.times += time.tolist()
        noisy = seen[:, :CHANNELS]
        way = (noisy - self.clip) / (time.view(-1, 1, 1, 1, 1) / 1000)
        return (way * (0.5 + 0.5 * text.any((1, 2)).float()).view(-1, 1, 1, 1, 1) / 2.5,)


@pytest.mark.parametrize("in_channels", [CHANNELS, 2 * CHANNELS + 4])
def test_a_denoiser_who_knows_the_clip_brings_it_back(in_channels: int) -> None:
    generator = torch.Generator().manual_seed(0)
    clip, noise = (torch.randn(1, CHANNELS, 2, 4, 4, generator=generator) for _ in range(2))
    model = Knowing(clip, in_channels)
    # Half as loud without a text, so 0.5 + 4 * 0.5 times the way in all, and 2.5 of it is the way.
    back = walked_back(model, clip, noise, 0.5, torch.ones(1, 3, 8), torch.zeros(1, 3, 8))

    assert torch.allclose(clip, back, atol=1e-5)
    assert in_channels == model.seen[0].shape[1]
    assert torch.allclose(0.5 * clip + 0.5 * noise, model.seen[0][:1, :CHANNELS])
    assert [500, 500, 400, 400, 300, 300, 200, 200, 100, 100] == pytest.approx(model.times)


def test_only_the_decoder_learns_and_a_run_that_was_ended_goes_on(folder: Path) -> None:
    decoder.train(folder, PLAN, Ranks(), CPU)
    whole = AutoencoderKLWan.from_pretrained(folder / "decoder").state_dict()
    (folder / "decoder.pt").unlink()

    run = _Run(folder, PLAN, Ranks(), CPU)
    run.step(0)
    torch.save(run.state(1), folder / "decoder.pt")
    decoder.train(folder, PLAN, Ranks(), CPU)
    resumed = AutoencoderKLWan.from_pretrained(folder / "decoder").state_dict()

    before = AutoencoderKLWan.from_pretrained(folder / "vae").state_dict()
    changed = {name for name, value in before.items() if not torch.equal(value, whole[name])}
    assert {"decoder", "post_quant_conv"} == {name.split(".")[0] for name in changed}
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_what_is_not_walked_back_gets_noise(folder: Path) -> None:
    latents = torch.zeros(1, CHANNELS, 5, 8, 8)
    plain = _Run(folder, dataclasses.replace(PLAN, walked=0), Ranks(), CPU)
    spreads = [float(plain._spoiled(latents, "a ball", numpy.random.default_rng(seed)).std()) for seed in range(20)]

    assert 0 <= min(spreads) < 0.05
    assert 0.1 < max(spreads) < 0.15


def test_the_export_takes_the_decoder_that_was_mended(folder: Path, tmp_path: Path) -> None:
    mended = AutoencoderKLWan.from_pretrained(folder / "vae")
    with torch.no_grad():
        mended.decoder.conv_out.bias += 1
    mended.save_pretrained(folder / "decoder")
    export.export_ti2v(folder, tmp_path / "out")
    written = AutoencoderKLWan.from_pretrained(tmp_path / "out" / "ti2v" / "vae", dtype=torch.float32)

    assert torch.allclose(mended.decoder.conv_out.bias, written.decoder.conv_out.bias, atol=1e-2)
