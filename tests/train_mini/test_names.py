"""One weight's names in diffusers, upstream and LoRA files, by the converters that diffusers itself has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from diffusers import WanPipeline, WanTransformer3DModel
from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers
from peft import LoraConfig, set_peft_model_state_dict
from safetensors.torch import load_file
from torch import Tensor

from train_mini import dit
from train_mini.distilling import _TARGETS, RANK
from train_mini.export import export_single_file
from train_mini.names import lora_name, upstream_name, upstream_names

#: The parameters of wan/modules/model.py (https://github.com/Wan-Video/Wan2.2): one block's, and the others'.
_LINEAR = r"(weight|bias)"
_BLOCK = (
    rf"(self|cross)_attn\.[qkvo]\.{_LINEAR}", r"(self|cross)_attn\.norm_[qk]\.weight", rf"norm3\.{_LINEAR}",
    rf"ffn\.[02]\.{_LINEAR}", "modulation",
)  # fmt: skip
UPSTREAM = re.compile(
    "|".join((
        rf"patch_embedding\.{_LINEAR}", rf"(text|time)_embedding\.[02]\.{_LINEAR}", rf"time_projection\.1\.{_LINEAR}",
        rf"head\.head\.{_LINEAR}", r"head\.modulation", *(rf"blocks\.\d+\.{each}" for each in _BLOCK),
    ))
)  # fmt: skip

#: What one block and the rest of the network have, by the same source.
IN_A_BLOCK, BESIDE_BLOCKS = 27, 15


@pytest.fixture(scope="module")
def model(work: Path) -> WanTransformer3DModel:
    return WanTransformer3DModel.from_pretrained(work / "high").eval()


def test_every_weight_has_a_name_of_its_own_that_upstream_knows(model: WanTransformer3DModel) -> None:
    ours = model.state_dict()
    theirs = upstream_names(ours)

    assert [] == [name for name in theirs if not UPSTREAM.fullmatch(name)]
    assert len(model.blocks) * IN_A_BLOCK + BESIDE_BLOCKS == len(ours) == len(theirs)


def test_the_names_that_differ_most_are_upstreams() -> None:
    names = {
        "scale_shift_table": "head.modulation",
        "proj_out.bias": "head.head.bias",
        "patch_embedding.weight": "patch_embedding.weight",
        "condition_embedder.time_embedder.linear_2.weight": "time_embedding.2.weight",
        "condition_embedder.time_proj.weight": "time_projection.1.weight",
        "condition_embedder.text_embedder.linear_1.bias": "text_embedding.0.bias",
        "blocks.3.scale_shift_table": "blocks.3.modulation",
        "blocks.11.attn1.to_out.0.weight": "blocks.11.self_attn.o.weight",
        "blocks.0.attn2.norm_k.weight": "blocks.0.cross_attn.norm_k.weight",
        "blocks.0.norm2.weight": "blocks.0.norm3.weight",
        "blocks.0.ffn.net.0.proj.weight": "blocks.0.ffn.0.weight",
        "blocks.0.ffn.net.2.weight": "blocks.0.ffn.2.weight",
    }

    assert names == {name: upstream_name(name) for name in names}


def test_a_single_file_comes_back_through_diffusers_own_converter(model: WanTransformer3DModel, tmp_path: Path) -> None:
    export_single_file(model.state_dict(), tmp_path / "mini.safetensors")
    back = convert_wan_transformer_to_diffusers(load_file(tmp_path / "mini.safetensors"))

    assert model.state_dict().keys() == back.keys()
    assert all(torch.equal(value, back[name]) for name, value in model.state_dict().items())


def test_a_loras_names_are_those_of_lightx2vs_files() -> None:
    names = {
        "blocks.0.attn1.to_q.lora_A.weight": "diffusion_model.blocks.0.self_attn.q.lora_down.weight",
        "blocks.3.attn2.to_out.0.lora_B.weight": "diffusion_model.blocks.3.cross_attn.o.lora_up.weight",
        "blocks.0.ffn.net.0.proj.lora_A.default.weight": "diffusion_model.blocks.0.ffn.0.lora_down.weight",
    }

    assert names == {name: lora_name(name) for name in names}


@torch.no_grad()
def answer(model: WanTransformer3DModel) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    seen = torch.randn(1, model.config.in_channels, 2, 4, 4, generator=generator)
    text = torch.randn(1, 20, dit.TEXT_WIDTH, generator=generator)
    return model(seen, torch.tensor([900.0]), text, return_dict=False)[0]


def test_each_half_of_a_pair_loads_into_its_own_expert_and_changes_only_that(
    work: Path, halves: dict[str, dict[str, Tensor]]
) -> None:
    high, low = (WanTransformer3DModel.from_pretrained(work / name).eval() for name in ("high", "low"))
    pipe = WanPipeline(None, None, None, None, high, low, boundary_ratio=0.875)
    answers = [(answer(high), answer(low))]
    for half in ("high", "low"):
        pipe.load_lora_weights(
            str(work / "loras"),
            weight_name=f"mini_4steps_{half}_noise.safetensors",
            adapter_name=half,
            load_into_transformer_2=half == "low",
        )
        answers.append((answer(high), answer(low)))
    plain, first, both = answers

    assert torch.equal(plain[1], first[1])
    assert torch.equal(first[0], both[0])
    for expert, before, after in (("high", plain[0], both[0]), ("low", plain[1], both[1])):
        assert (after - before).abs().max() > 0.1
        assert torch.allclose(with_adapter(work / expert, halves[expert]), after, atol=0.02)


def with_adapter(folder: Path, weights: dict[str, Tensor]) -> Tensor:
    """Return the answer with the half as peft itself adds it."""
    model = WanTransformer3DModel.from_pretrained(folder).eval()
    model.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=_TARGETS))
    set_peft_model_state_dict(model, weights)
    return answer(model)
