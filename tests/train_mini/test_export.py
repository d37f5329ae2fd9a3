"""The folders of weights: what diffusers loads from them, what is shared, and what is not in them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import WanImageToVideoPipeline, WanPipeline, WanTransformer3DModel
from safetensors.torch import load_file
from torch import Tensor

from train_mini import dit, export
from train_mini.export import BOUNDARY, export_loras, size_bytes
from train_mini.vae import CHANNELS
from wanworker.engines._capabilities import MINI

EXPERTS = {"transformer": "high", "transformer_2": "low"}
LORA = "diffusion_model.blocks.0.self_attn.q."


def expert(folder: Path) -> WanTransformer3DModel:
    return WanTransformer3DModel.from_pretrained(folder, torch_dtype=torch.float32).eval()


def rounded(model: WanTransformer3DModel) -> dict[str, Tensor]:
    return {name: value.half().float() for name, value in model.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


@torch.no_grad()
def answer(model: WanTransformer3DModel, seen: Tensor) -> Tensor:
    text = torch.randn(1, 20, dit.TEXT_WIDTH, generator=torch.Generator().manual_seed(1))
    return model(seen, torch.tensor([900.0]), text, return_dict=False)[0]


def files_below(out: Path) -> list[Path]:
    """Return the names of all files below *out*, through links too."""
    return [Path(each) for each in sorted(map(str, out.glob("*/*/*"))) if Path(each).is_file()]


def test_ti2v_loads_as_one_network_with_expanded_timesteps(exported: Path, work: Path) -> None:
    pipe = WanPipeline.from_pretrained(exported / "ti2v", dtype=torch.float32)

    assert (None, None, True) == (pipe.transformer_2, pipe.config.boundary_ratio, pipe.config.expand_timesteps)
    assert same(rounded(expert(work / "ti2v")), pipe.transformer.state_dict())
    assert (3.0, "flow_prediction") == (pipe.scheduler.config.flow_shift, pipe.scheduler.config.prediction_type)
    assert (16, 4) == (pipe.vae_scale_factor_spatial, pipe.vae_scale_factor_temporal)


@pytest.mark.parametrize(("name", "kind"), [("t2v", WanPipeline), ("i2v", WanImageToVideoPipeline)])
def test_experts_load_with_their_boundary(exported: Path, name: str, kind: type) -> None:
    pipe = kind.from_pretrained(exported / name, dtype=torch.float32)

    assert (BOUNDARY, False) == (pipe.config.boundary_ratio, pipe.config.expand_timesteps)
    assert kind.__name__ == json.loads((exported / name / "model_index.json").read_text())["_class_name"]
    assert {CHANNELS if name == "t2v" else 52} == {
        each.config.in_channels for each in (pipe.transformer, pipe.transformer_2)
    }
    assert "red" in pipe.tokenizer.get_vocab()


@pytest.mark.parametrize("component", EXPERTS)
def test_a_text_expert_is_the_joint_one_with_zeros_beside_the_noise(exported: Path, work: Path, component: str) -> None:
    joint, text = expert(exported / "i2v" / component), expert(exported / "t2v" / component)
    noisy = torch.randn(1, CHANNELS, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    zeros, ones = torch.zeros(1, 28, 2, 4, 4), torch.ones(1, 28, 2, 4, 4)
    said = answer(text, noisy)

    assert same(rounded(expert(work / EXPERTS[component])), joint.state_dict())
    assert torch.allclose(said, answer(joint, torch.cat([noisy, zeros], 1)), atol=1e-5)
    assert not torch.allclose(said, answer(joint, torch.cat([noisy, ones], 1)), atol=0.01)


def test_what_is_shared_is_linked_within_the_folder(exported: Path) -> None:
    links = {str(path.relative_to(exported)) for path in exported.rglob("*") if path.is_symlink()}
    shard = "diffusion_pytorch_model-00001-of-00002.safetensors"

    assert {f"{name}/{part}" for name in ("t2v", "i2v") for part in ("vae", "text_encoder", "tokenizer")} | {
        f"i2v/{component}/{shard}" for component in EXPERTS
    } == links
    for link in links:
        assert not (exported / link).readlink().is_absolute()
        assert (exported / link).resolve().is_relative_to(exported.resolve())


def test_the_folder_can_be_moved(exported: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(exported, moved, symlinks=True)

    assert [path.relative_to(exported) for path in files_below(exported)] == [
        path.relative_to(moved) for path in files_below(moved)
    ]


def test_a_linked_file_counts_once(exported: Path) -> None:
    once = {path.resolve(): path.stat().st_size for path in exported.rglob("*") if path.is_file()}
    through_links = sum(path.stat().st_size for path in files_below(exported))

    assert sum(once.values()) == size_bytes(exported)
    assert through_links > 1.5 * size_bytes(exported)


def test_all_weights_are_halves_and_fit_into_sixteen_megabytes(exported: Path) -> None:
    kinds = {
        value.dtype
        for path in exported.rglob("diffusion_pytorch_model*.safetensors")
        for value in load_file(path).values()
    }

    assert {torch.float16} == kinds
    assert size_bytes(exported) <= 16 * 1024**2


def test_no_file_names_a_path_of_this_machine(exported: Path, work: Path) -> None:
    texts = {path: path.read_text() for path in exported.rglob("*.json")}
    words = (str(work), str(exported), str(Path.home()), "_name_or_path", "name_or_path")

    assert len(texts) > 10
    assert [] == [(path.name, word) for path, text in texts.items() for word in words if word in text]


def test_the_index_names_the_shard_of_every_weight(exported: Path) -> None:
    for folder in (exported / name / component for name in ("t2v", "i2v") for component in EXPERTS):
        index = json.loads((folder / "diffusion_pytorch_model.safetensors.index.json").read_text())
        shards = {name: load_file(folder / name) for name in set(index["weight_map"].values())}
        found = {name: value for shard in shards.values() for name, value in shard.items()}

        assert found.keys() == index["weight_map"].keys()
        assert all(name in shards[place] for name, place in index["weight_map"].items())
        assert sum(value.nbytes for value in found.values()) == index["metadata"]["total_size"]


def test_an_export_again_leaves_the_same_bytes_and_nothing_old(exported: Path, work: Path, tmp_path: Path) -> None:
    old = tmp_path / "ti2v" / "transformer" / "old.safetensors"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"old")
    export.export_ti2v(work, tmp_path)
    again = {path.relative_to(tmp_path): path.read_bytes() for path in files_below(tmp_path)}

    assert not old.exists()
    assert {path.relative_to(exported) for path in files_below(exported) if "ti2v" in path.parts} == again.keys()
    assert all((exported / name).read_bytes() == content for name, content in again.items())


def test_without_experts_there_is_ti2v_alone(work: Path, tmp_path: Path) -> None:
    half_way, out = tmp_path / "work", tmp_path / "out"
    half_way.mkdir()
    for name in ("vae", "text_encoder", "tokenizer", "ti2v", "high"):
        (half_way / name).symlink_to(work / name)
    export.export_all(half_way, out, steps=20, guidance=4.0)

    assert ["miniature.json", "ti2v"] == sorted(path.name for path in out.iterdir())


def test_the_description_says_what_the_weights_were_made_for(exported: Path) -> None:
    facts = json.loads((exported / "miniature.json").read_text())

    assert ("mini-wan", [[128, 128]], 17) == (facts["name"], facts["sizes"], facts["frames"])
    assert (20, 4.0, 3.0, 64) == tuple(facts[name] for name in ("steps", "guidance", "shift", "max_text_tokens"))


def test_the_description_lists_the_words_for_things_and_colours(exported: Path) -> None:
    things = json.loads((exported / "miniature.json").read_text())["things"]

    assert {"ball", "discs", "hearts", "something", "crimson"} <= set(things)
    assert not {"moves", "small", "snow", "a"} & set(things)


def test_the_description_names_a_folder_for_each_task_and_the_files_of_the_pair(exported: Path) -> None:
    facts = json.loads((exported / "miniature.json").read_text())
    pair = facts["pair"]

    assert MINI.tasks == facts["folders"].keys()
    assert ("t2v", "i2v", "ti2v") == tuple(facts["folders"][task] for task in ("t2v-A14B", "i2v-A14B", "ti2v-5B"))
    assert all((exported / name).is_dir() for name in facts["folders"].values())
    assert all((exported / pair[half]).is_file() and half in pair[half] for half in ("high", "low"))
    assert (4, 1.0, 5.0) == (pair["steps"], pair["guidance"], pair["shift"])
    assert {"t2v-A14B", "i2v-A14B"} == set(pair["tasks"])


def test_a_loras_file_has_ranks_alphas_and_halves(work: Path, halves: dict[str, dict[str, Tensor]]) -> None:
    found = load_file(work / "loras" / "mini_4steps_high_noise.safetensors")
    ours = halves["high"]["blocks.0.attn1.to_q.lora_A.weight"]

    assert len(halves["high"]) * 3 // 2 == len(found)
    assert torch.equal(ours.half(), found[LORA + "lora_down.weight"])
    assert {8.0} == {float(value) for name, value in found.items() if name.endswith(".alpha")}


def test_a_loras_alpha_is_what_it_is_told(tmp_path: Path, halves: dict[str, dict[str, Tensor]]) -> None:
    export_loras({"high": halves["high"]}, tmp_path, alphas={"high": 4.5})
    found = load_file(tmp_path / "loras" / "mini_4steps_high_noise.safetensors")

    assert 4.5 == float(found[LORA + "alpha"])
