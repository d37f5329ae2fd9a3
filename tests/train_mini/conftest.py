"""What the tests of the miniature's training share: one thread, and parts that were never trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import WanTransformer3DModel
from peft import LoraConfig, get_peft_model_state_dict
from torch import Tensor

from train_mini import dit, export, text_encoder, vae
from train_mini.distilling import _TARGETS, RANK
from train_mini.vae import CHANNELS


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


def denoiser(in_channels: int, seed: int) -> WanTransformer3DModel:
    """Return a denoiser of the miniature's size whose answers are not zero, as an untrained one's are."""
    torch.manual_seed(seed)
    model = dit.build(in_channels)
    torch.nn.init.normal_(model.proj_out.weight, std=0.1)
    return model.eval()


@pytest.fixture(scope="session")
def halves() -> dict[str, dict[str, Tensor]]:
    """Return weights of the two halves of a LoRA pair, by expert, under peft's names."""
    found = {}
    for seed, expert in enumerate(("high", "low")):
        model = denoiser(52, seed)
        model.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=_TARGETS))
        generator = torch.Generator().manual_seed(seed)
        found[expert] = {
            name: 0.2 * torch.randn(value.shape, generator=generator)
            for name, value in get_peft_model_state_dict(model).items()
        }
    return found


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory, halves: dict[str, dict[str, Tensor]]) -> Path:
    """Return a folder with what the stages leave, at random: autoencoder, text encoder, ti2v, both experts, LoRAs."""
    folder = tmp_path_factory.mktemp("work")
    export.export_loras(halves, folder, alphas={"high": float(RANK), "low": float(RANK)})
    torch.manual_seed(0)
    vae.build().save_pretrained(folder / "vae")
    text_encoder.build_encoder().save_pretrained(folder / "text_encoder")
    text_encoder.build_tokenizer().save_pretrained(folder / "tokenizer")
    for seed, (name, in_channels) in enumerate({"ti2v": CHANNELS, "high": 52, "low": 52}.items()):
        denoiser(in_channels, seed).save_pretrained(folder / name)
    return folder


@pytest.fixture(scope="session")
def exported(work: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of weights that export makes of `work`."""
    out = tmp_path_factory.mktemp("weights") / "mini"
    export.export_all(work, out, steps=20, guidance=4.0)
    return out
