"""The decoder's second training: on what denoisers make of clips, the encoder untouched."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy
import pytest
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from torch import Tensor

from train_mini import decoder, export
from train_mini.decoder import Plan, _Run
from train_mini.latents import encode
from train_mini.parallel import Ranks
from train_mini.renderer import draw_clip
from train_mini.scene import draw_scene
from train_mini.vae import CHANNELS, as_input, cut

CPU = torch.device("cpu")
PLAN = Plan(steps=2, clips=1, seed=3)


@pytest.fixture
def folder(work: Path, tmp_path: Path) -> Path:
    """Return a folder with what the stages before leave."""
    for name in ("vae", "text_encoder", "tokenizer", "ti2v", "high", "low"):
        (tmp_path / name).symlink_to(work / name)
    return tmp_path


@pytest.fixture
def clips() -> Tensor:
    """Return one drawn clip as the autoencoder takes it, small and short."""
    rng = numpy.random.default_rng(0)
    return as_input(draw_clip(draw_scene(rng), rng, frames=5, side=64).pixels[None])


@pytest.mark.slow
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


@pytest.mark.slow
def test_it_learns_from_windows_and_at_last_from_whole_frames(folder: Path) -> None:
    run = _Run(folder, dataclasses.replace(PLAN, clips=2), Ranks(), CPU)
    seen = []
    run._vae.decoder.register_forward_pre_hook(lambda _decoder, latents: seen.append(latents[0].shape))
    run.step(0)
    run.step(2)

    assert [(2, CHANNELS, 1, 4, 4), (1, CHANNELS, 1, 8, 8)] == sorted(set(map(tuple, seen)), reverse=True)


def test_what_is_not_walked_back_gets_noise(folder: Path, clips: Tensor) -> None:
    plain = _Run(folder, dataclasses.replace(PLAN, walked=0), Ranks(), CPU)
    clean = encode(plain._vae, clips)
    spoiled = [plain._spoiled(clips, ["a ball"], numpy.random.default_rng(seed)) for seed in range(20)]
    spreads = [float((each - clean).std()) for each in spoiled]

    assert 0 <= min(spreads) < 0.05
    assert 0.1 < max(spreads) < 0.15


def test_both_denoisers_spoil_clips_with_and_without_a_first_frame(folder: Path, clips: Tensor) -> None:
    run = _Run(folder, dataclasses.replace(PLAN, walked=1), Ranks(), CPU)
    asked = set()

    def note(model: WanTransformer3DModel, arguments: tuple[Tensor, ...]) -> None:
        seen, times = arguments[:2]
        is_expert = model.config.in_channels > CHANNELS
        asked.add((is_expert, bool(seen[:, CHANNELS:].any() if is_expert else (times == 0).any())))

    for model in run._denoisers:
        model.register_forward_pre_hook(note)
    for seed in range(10):
        run._spoiled(clips, ["a ball"], numpy.random.default_rng(seed))

    assert {(is_expert, is_given) for is_expert in (False, True) for is_given in (False, True)} == asked


def test_a_window_is_the_same_place_in_latents_and_pixels() -> None:
    place = torch.arange(128).float().expand(1, 1, 2, 128, 128)  # its column
    windows = [(slice(16, 80), slice(48, 112))]

    assert range(48, 112) == range(int(cut(place, windows)[0, 0, 0, 0, 0]), int(cut(place, windows)[..., -1].max()) + 1)
    assert (1, 1, 2, 64, 64) == cut(place, windows).shape
    assert torch.equal(cut(place, windows)[..., ::16, ::16], cut(place[..., ::16, ::16], windows, 16))


def test_the_export_takes_the_decoder_that_was_mended(folder: Path, tmp_path: Path) -> None:
    mended = AutoencoderKLWan.from_pretrained(folder / "vae")
    with torch.no_grad():
        mended.decoder.conv_out.bias += 1
    mended.save_pretrained(folder / "decoder")
    export.export_ti2v(folder, tmp_path / "out")
    written = AutoencoderKLWan.from_pretrained(tmp_path / "out" / "ti2v" / "vae", dtype=torch.float32)

    assert torch.allclose(mended.decoder.conv_out.bias, written.decoder.conv_out.bias, atol=1e-2)
