"""
LoRA files of every layout against a twin of the model whose weights were changed by the same formula.

`ordinary` makes the factors; each case writes them as one program or another does, and says what the twin gets.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from fakes.tiny_wan import transformer
from wanworker.engines.resident.child._loras import Adapters
from wanworker.engines.resident.protocol import Adapter
from wanworker.errors import InvalidRequest

DIM, FF, OUT = 24, 32, 64
#: Upstream's name of a layer in a block -> diffusers' name, inputs, outputs.
LAYERS = {
    **{f"{theirs}_attn.{letter}": (f"attn{number}.{name}", DIM, DIM)
       for theirs, number in (("self", 1), ("cross", 2))
       for letter, name in (("q", "to_q"), ("k", "to_k"), ("v", "to_v"), ("o", "to_out.0"))},
    "ffn.0": ("ffn.net.0.proj", DIM, FF), "ffn.2": ("ffn.net.2", FF, DIM),
}  # fmt: skip
Tensors = dict[str, torch.Tensor]
#: What is added to parameters of the twin, by their diffusers names.
Deltas = dict[str, torch.Tensor]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def bare() -> Any:
    return transformer(16, 16, 0)


@pytest.fixture
def model(bare: Any) -> Any:
    return copy.deepcopy(bare)


def randn(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def native(block: int, name: str, part: str) -> str:
    return f"diffusion_model.blocks.{block}.{name}.{part}"


def ordinary(
    key: Callable[[int, str, str], str] = native,
    *,
    names: tuple[str, ...] = tuple(LAYERS),
    blocks: tuple[int, ...] = (0, 1),
    down: str = "lora_down.weight",
    up: str = "lora_up.weight",
    alpha: float | None = None,
    rank: Callable[[str], int] = lambda _name: 4,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensors, Deltas]:
    tensors: Tensors = {}
    deltas: Deltas = {}
    for block in blocks:
        for seed, name in enumerate(names):
            layer, inputs, outputs = LAYERS[name]
            inside = rank(name)
            first = randn(inside, inputs, seed=100 * block + seed).to(dtype)
            second = randn(outputs, inside, seed=50 + 100 * block + seed).to(dtype)
            tensors |= {key(block, name, down): first, key(block, name, up): second}
            if alpha is not None:
                tensors[key(block, name, "alpha")] = torch.tensor(float(alpha))
            scale = 1.0 if alpha is None else alpha / inside
            deltas[f"blocks.{block}.{layer}.weight"] = second.float() @ first.float() * scale
    return tensors, deltas


def flat(prefix: str) -> Callable[[int, str, str], str]:
    return lambda block, name, part: f"{prefix}blocks_{block}_{name.replace('.', '_')}.{part}"


def dotted(prefix: str) -> Callable[[int, str, str], str]:
    return lambda block, name, part: f"{prefix}blocks.{block}.{name}.{part}"


def ours(prefix: str) -> Callable[[int, str, str], str]:
    return lambda block, name, part: f"{prefix}blocks.{block}.{LAYERS[name][0]}.{part}"


PEFT = {"down": "lora_A.weight", "up": "lora_B.weight"}
NAMED = {"down": "lora_A.default.weight", "up": "lora_B.default.weight"}
ATTENTION = tuple(name for name in LAYERS if "attn" in name)
EIGHT = torch.float8_e4m3fn

ORDINARY: Mapping[str, tuple[Any, dict[str, Any]]] = {
    "ComfyUI's names": (native, {"alpha": 4}),
    "another alpha": (native, {"alpha": 8}),
    "no alpha": (native, {}),
    "A and B": (native, PEFT),
    "A and B with alpha": (native, {**PEFT, "alpha": 2}),
    "kohya": (flat("lora_unet_"), {"alpha": 2}),
    "kohya, attention only": (flat("lora_unet_"), {"alpha": 2, "names": ATTENTION}),
    "kohya, no alpha": (flat("lora_unet_"), {}),
    "kohya, second block only": (flat("lora_unet_"), {"alpha": 2, "blocks": (1,)}),
    "LyCORIS": (flat("lycoris_"), {"alpha": 2}),
    "no prefix": (dotted(""), {"alpha": 4}),
    "no prefix, A and B": (dotted(""), PEFT),
    "diffsynth": (dotted(""), NAMED),
    "pipe.dit": (dotted("pipe.dit."), NAMED),
    "base_model": (ours("base_model.model."), PEFT),
    "base_model, upstream's names": (dotted("base_model.model."), PEFT),
    "model.diffusion_model": (dotted("model.diffusion_model."), {"alpha": 4}),
    "diffusers": (ours("transformer."), PEFT),
    "diffusers, no prefix": (ours(""), PEFT),
    "diffusers, alpha": (ours("transformer."), {**PEFT, "alpha": 2}),
    "old diffusers": (ours("transformer."), {"down": "lora.down.weight", "up": "lora.up.weight"}),
    "bare A and B": (dotted("diffusion_model."), {"down": "lora_A", "up": "lora_B"}),
    "a rank for each layer": (native, {"alpha": 4, "rank": lambda name: {"self_attn.q": 2, "ffn.0": 8}.get(name, 4)}),
    "one block": (native, {"alpha": 4, "blocks": (1,)}),
    "one layer": (native, {"alpha": 4, "names": ("self_attn.q",)}),
    "bfloat16": (native, {"alpha": 4, "dtype": torch.bfloat16}),
    "float16": (native, {"alpha": 4, "dtype": torch.float16}),
    "float8": (native, {"alpha": 4, "dtype": EIGHT}),
}


def with_biases(names: tuple[str, ...]) -> tuple[Tensors, Deltas]:
    tensors, deltas = ordinary(alpha=4)
    for block in (0, 1):
        for seed, name in enumerate(names):
            layer, _, outputs = LAYERS[name]
            added = randn(outputs, seed=300 + 10 * block + seed)
            tensors[native(block, name, "diff_b")] = deltas[f"blocks.{block}.{layer}.bias"] = added
    return tensors, deltas


def with_differences(modulation: str) -> tuple[Tensors, Deltas]:
    """Return differences of everything that has no factors; LightX2V and ComfyUI name the modulation differently."""
    tensors, deltas = with_biases(("self_attn.q",))
    added = {
        "blocks.1.norm3.diff": ("blocks.1.norm2.weight", (DIM,)),
        "blocks.1.norm3.diff_b": ("blocks.1.norm2.bias", (DIM,)),
        "blocks.0.self_attn.norm_q.diff": ("blocks.0.attn1.norm_q.weight", (DIM,)),
        f"blocks.0.{modulation}": ("blocks.0.scale_shift_table", (1, 6, DIM)),
        "patch_embedding.diff": ("patch_embedding.weight", (DIM, 16, 1, 2, 2)),
        "patch_embedding.diff_b": ("patch_embedding.bias", (DIM,)),
        "head.head.diff": ("proj_out.weight", (OUT, DIM)),
        f"head.{modulation}": ("scale_shift_table", (1, 2, DIM)),
        "time_embedding.2.diff": ("condition_embedder.time_embedder.linear_2.weight", (DIM, DIM)),
        "text_embedding.0.diff_b": ("condition_embedder.text_embedder.linear_1.bias", (DIM,)),
        "time_projection.1.diff_b": ("condition_embedder.time_proj.bias", (6 * DIM,)),
    }
    for seed, (key, (parameter, shape)) in enumerate(added.items()):
        tensors[f"diffusion_model.{key}"] = deltas[parameter] = randn(*shape, seed=400 + seed) / 4
    return tensors, deltas


def convolution() -> tuple[Tensors, Deltas]:
    first, second = randn(2, 16, 1, 2, 2, seed=1), randn(DIM, 2, 1, 1, 1, seed=2)
    tensors = {"diffusion_model.patch_embedding.lora_down.weight": first}
    tensors["diffusion_model.patch_embedding.lora_up.weight"] = second
    return tensors, {"patch_embedding.weight": (second.flatten(1) @ first.flatten(1)).reshape(DIM, 16, 1, 2, 2)}


def kronecker(prefix: Callable[[int, str, str], str], *, factored: bool) -> tuple[Tensors, Deltas]:
    left, right, inside = randn(2, 2, seed=1), randn(12, 2, seed=2), randn(2, 12, seed=3)
    tensors: Tensors = {}
    deltas: Deltas = {}
    for name in ATTENTION:
        tensors[prefix(0, name, "lokr_w1")] = left
        if factored:
            tensors |= {prefix(0, name, "lokr_w2_a"): right, prefix(0, name, "lokr_w2_b"): inside}
        else:
            tensors[prefix(0, name, "lokr_w2")] = right @ inside
        tensors[prefix(0, name, "alpha")] = torch.tensor(1.0)
        deltas[f"blocks.0.{LAYERS[name][0]}.weight"] = torch.kron(left, right @ inside) * (0.5 if factored else 1.0)
    return tensors, deltas


def dora(
    bare: Any, prefix: Callable[[int, str, str], str], magnitude: str, *, of_inputs: bool, **style: str
) -> tuple[Tensors, Deltas]:
    """Return magnitudes for every layer: W' = m * (W + BA) / |W + BA| (the paper's, LyCORIS's and peft's)."""
    tensors, deltas = ordinary(prefix, alpha=2, **style)  # type: ignore[arg-type]
    own = dict(bare.named_parameters())
    for block in (0, 1):
        for seed, (name, (layer, inputs, outputs)) in enumerate(LAYERS.items()):
            parameter = f"blocks.{block}.{layer}.weight"
            changed = own[parameter].detach() + deltas[parameter]
            shape = (1, inputs) if of_inputs else (outputs, 1)
            sizes = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) + 0.5
            tensors[prefix(block, name, magnitude)] = sizes if "." not in magnitude else sizes.flatten()
            norms = changed.norm(dim=0 if of_inputs else 1, keepdim=True)
            deltas[parameter] = sizes * changed / norms - own[parameter].detach()
    return tensors, deltas


def mixed() -> tuple[Tensors, Deltas]:
    """Return one file whose layers are spelt in five ways, with an alpha of another type each, or none."""
    ways: tuple[tuple[str, Callable[[int, str, str], str], dict[str, str], torch.Tensor | None], ...] = (
        ("self_attn.q", flat("lora_unet_"), {}, torch.tensor(2)),
        ("self_attn.k", native, {}, torch.tensor(2, dtype=torch.bfloat16)),
        ("self_attn.v", ours("transformer."), PEFT, torch.tensor([2.0])),
        ("cross_attn.o", dotted("pipe.dit."), NAMED, torch.tensor([[2]], dtype=torch.int32)),
        ("ffn.2", dotted(""), PEFT, None),
    )
    tensors: Tensors = {}
    deltas: Deltas = {}
    for name, key, style, alpha in ways:
        some, changes = ordinary(key, names=(name,), **style)  # type: ignore[arg-type]
        for block in (0, 1) if alpha is not None else ():
            some[key(block, name, "alpha")] = alpha
        tensors |= some
        deltas |= {parameter: delta * (1.0 if alpha is None else 0.5) for parameter, delta in changes.items()}
    return tensors, deltas


def biases_alone() -> tuple[Tensors, Deltas]:
    _, deltas = with_biases(("self_attn.q", "ffn.0"))
    kept = {name: delta for name, delta in deltas.items() if name.endswith(".bias")}
    return {key: value for key, value in with_biases(("self_attn.q", "ffn.0"))[0].items() if "diff_b" in key}, kept


def flat_convolution() -> tuple[Tensors, Deltas]:
    """Return a convolution's factors as kohya names them, and as matrices, with an alpha."""
    tensors, deltas = convolution()
    renamed = {key.replace("diffusion_model.", "lora_unet_"): value.flatten(1) for key, value in tensors.items()}
    renamed["lora_unet_patch_embedding.alpha"] = torch.tensor(1)
    return renamed, {name: delta / 2 for name, delta in deltas.items()}


SPECIAL: Mapping[str, Callable[[Any], tuple[Tensors, Deltas]]] = {
    "diff_b on some layers": lambda _: with_biases(("self_attn.q",)),
    "diff_b on all layers": lambda _: with_biases(tuple(LAYERS)),
    "diff of everything, LightX2V": lambda _: with_differences("diff_m"),
    "diff of everything, ComfyUI": lambda _: with_differences("modulation.diff"),
    "a convolution": lambda _: convolution(),
    "a convolution, kohya": lambda _: flat_convolution(),
    "each layer in another way": lambda _: mixed(),
    "diff_b alone": lambda _: biases_alone(),
    "LoKr": lambda _: kronecker(flat("lycoris_"), factored=False),
    "LoKr with a rank": lambda _: kronecker(native, factored=True),
    "DoRA, ComfyUI": lambda bare: dora(bare, native, "dora_scale", of_inputs=False),
    "DoRA of inputs": lambda bare: dora(bare, native, "dora_scale", of_inputs=True),
    "DoRA, peft": lambda bare: dora(
        bare, ours("base_model.model."), "lora_magnitude_vector.weight", of_inputs=False, **PEFT
    ),
}


def case(name: str, bare: Any) -> tuple[Tensors, Deltas]:
    """Return the tensors of a file, and what they add to the parameters of *bare*."""
    if name in SPECIAL:
        return SPECIAL[name](bare)
    key, changes = ORDINARY[name]
    return ordinary(key, **changes)


def use(model: Any, *adapters: Adapter, known: Adapters | None = None, low: Any = None) -> tuple[str, ...]:
    return (known or Adapters()).use(SimpleNamespace(transformer=model, transformer_2=low), adapters)


def written(path: Path, tensors: Tensors, metadata: dict[str, str] | None = None) -> str:
    save_file({key: value.contiguous().clone() for key, value in tensors.items()}, path, metadata=metadata)
    return str(path)


def twin_of(model: Any, *changes: tuple[Deltas, float]) -> Any:
    twin = copy.deepcopy(model)
    parameters = dict(twin.named_parameters())
    for deltas, strength in changes:
        for name, delta in deltas.items():
            parameters[name].data += strength * delta
    return twin


@torch.no_grad()
def made(model: Any, time: float = 900.0) -> torch.Tensor:
    clip, text = randn(1, 16, 3, 8, 8, seed=7), randn(1, 16, 32, seed=8)
    inputs = {"hidden_states": clip, "timestep": torch.tensor([time]), "encoder_hidden_states": text}
    return model(**inputs, return_dict=False)[0]


def far(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).norm() / other.norm())


@pytest.mark.parametrize("name", [*ORDINARY, *SPECIAL])
def test_every_layout_changes_what_it_says_and_nothing_else(name: str, bare: Any, model: Any, tmp_path: Path) -> None:
    tensors, deltas = case(name, bare)
    pipe = SimpleNamespace(transformer=model, transformer_2=None)
    known = Adapters()
    path = written(tmp_path / "a.safetensors", tensors)

    for strength in (1.0, 0.7):
        assert () == known.use(pipe, (Adapter(path, "high", strength),))
        assert far(made(model), made(twin_of(bare, (deltas, strength)))) < 2e-6
    assert far(made(bare), made(model)) > 1e-3
    known.use(pipe, ())
    assert torch.equal(made(bare), made(model))
    assert [*bare.state_dict()] == [*model.state_dict()]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_several_files_add_up_and_a_dora_scales_the_models_own_layer_only(
    bare: Any, model: Any, tmp_path: Path
) -> None:
    some = {name: case(name, bare) for name in ("no alpha", "DoRA, ComfyUI", "DoRA of inputs", "LoKr")}
    files = [written(tmp_path / f"{at}.safetensors", tensors) for at, (tensors, _) in enumerate(some.values())]
    strengths = (0.5, 1.0, 0.25, -0.5)

    use(model, *(Adapter(path, "high", strength) for path, strength in zip(files, strengths, strict=True)))

    twin = twin_of(bare, *((deltas, s) for (_, deltas), s in zip(some.values(), strengths, strict=True)))
    assert far(made(model), made(twin)) < 2e-6


def test_the_same_file_twice_counts_twice(bare: Any, model: Any, tmp_path: Path) -> None:
    tensors, deltas = ordinary()
    path = written(tmp_path / "a.safetensors", tensors)

    use(model, Adapter(path, "high", 0.5), Adapter(path, "high", 0.25))

    assert far(made(model), made(twin_of(bare, (deltas, 0.75)))) < 2e-6


def test_diffusers_own_metadata_gives_the_alpha(bare: Any, model: Any, tmp_path: Path) -> None:
    tensors, deltas = ordinary(ours("transformer."), **PEFT)  # type: ignore[arg-type]
    metadata = '{"transformer.r": 4, "transformer.lora_alpha": 8, "transformer.alpha_pattern": {"ffn.net.2": 4}}'
    path = written(tmp_path / "a.safetensors", tensors, {"format": "pt", "lora_adapter_metadata": metadata})

    use(model, Adapter(path, "high", 1.0))

    scaled = {name: delta * (1 if "ffn.net.2" in name else 2) for name, delta in deltas.items()}
    assert far(made(model), made(twin_of(bare, (scaled, 1.0)))) < 2e-6


def test_pefts_own_folder_has_the_alpha_beside_the_file(bare: Any, model: Any, tmp_path: Path) -> None:
    tensors, deltas = ordinary(ours("base_model.model."), **PEFT)  # type: ignore[arg-type]
    config = tmp_path / "adapter_config.json"
    config.write_text('{"r": 4, "lora_alpha": 8, "use_rslora": true}')
    path = written(tmp_path / "adapter_model.safetensors", tensors)

    use(model, Adapter(path, "high", 1.0))

    assert far(made(model), made(twin_of(bare, (deltas, 8 / 4**0.5)))) < 2e-6
    config.write_text("{")
    with pytest.raises(InvalidRequest, match="its peft configuration is not JSON"):
        use(copy.deepcopy(bare), Adapter(path, "high", 1.0))


@pytest.mark.parametrize(
    "words", ["[1]", '"x"', "[" * 100_000, '{"lora_alpha": "x"}', '{"lora_alpha": [1]}', '{"alpha_pattern": {"(": 4}}',
              '{"alpha_pattern": [1]}', '{"alpha_pattern": {"ffn": null}}'],
    ids=range(8),
)  # fmt: skip
def test_a_configuration_that_is_none_is_refused(words: str, model: Any, tmp_path: Path) -> None:
    tensors, _ = ordinary(ours("transformer."), **PEFT)  # type: ignore[arg-type]
    path = written(tmp_path / "a.safetensors", tensors, {"lora_adapter_metadata": words})

    with pytest.raises(InvalidRequest, match=r"LoRA a\.safetensors does not fit this model: .*its peft configuration"):
        use(model, Adapter(path, "high", 1.0))


def test_a_file_that_was_written_again_under_its_name_is_read_again(bare: Any, model: Any, tmp_path: Path) -> None:
    known = Adapters()
    path = written(tmp_path / "a.safetensors", ordinary()[0])
    adapter = Adapter(path, "high", 1.0)
    use(model, adapter, known=known)
    tensors, deltas = ordinary(alpha=2)
    written(tmp_path / "a.safetensors", {key: tensor * 2 for key, tensor in tensors.items()})
    os.utime(path, ns=(1, 1))
    use(model, adapter, known=known)

    # Both factors and the alpha are doubled.
    assert far(made(model), made(twin_of(bare, (deltas, 8.0)))) < 2e-6


def test_a_file_that_is_overwritten_in_place_does_not_change_a_run(bare: Any, model: Any, tmp_path: Path) -> None:
    tensors, deltas = ordinary()
    path = Path(written(tmp_path / "a.safetensors", tensors))
    use(model, Adapter(str(path), "high", 1.0))
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(bytes(path.stat().st_size // 2))

    assert far(made(model), made(twin_of(bare, (deltas, 1.0)))) < 2e-6


def test_another_job_reads_only_the_files_that_are_new(model: Any, tmp_path: Path) -> None:
    known = Adapters()
    paths = [
        written(tmp_path / f"{name}.safetensors", ordinary(alpha=alpha)[0]) for name, alpha in (("a", 4), ("b", 8))
    ]
    kept = Adapter(paths[0], "high", 1.0)
    use(model, kept, known=known)
    (before,) = known._attached.values()

    use(model, kept, Adapter(paths[1], "high", 1.0), known=known)

    assert before is next(iter(known._attached.values()))
    assert 2 == len(known._attached)


def test_each_half_goes_to_its_own_expert(bare: Any, model: Any, tmp_path: Path) -> None:
    low = copy.deepcopy(bare)
    path = written(tmp_path / "a.safetensors", ordinary()[0])
    use(model, Adapter(path, "low", 1.0), low=low)

    assert torch.equal(made(bare), made(model))
    assert not torch.equal(made(bare), made(low))


def test_layers_of_the_picture_encoder_are_left_out_and_told(bare: Any, model: Any, tmp_path: Path) -> None:
    tensors, deltas = ordinary(alpha=4)
    for block in (0, 1):
        tensors[native(block, "cross_attn.k_img", "lora_down.weight")] = randn(4, DIM, seed=1)
        tensors[native(block, "cross_attn.k_img", "lora_up.weight")] = randn(DIM, 4, seed=2)
        tensors[native(block, "cross_attn.norm_k_img", "diff")] = randn(DIM, seed=3)
    tensors["diffusion_model.img_emb.proj.1.diff_b"] = randn(DIM, seed=4)
    remarks = use(model, Adapter(written(tmp_path / "a.safetensors", tensors), "high", 1.0))

    said = "LoRA a.safetensors: 7 tensors for Wan 2.1's picture encoder were left out; this model has none."
    assert (said,) == remarks
    assert far(made(model), made(twin_of(bare, (deltas, 1.0)))) < 2e-6


def without(tensors: Tensors, ending: str) -> Tensors:
    return {key: value for key, value in tensors.items() if not key.endswith(ending)}


Q = native(0, "self_attn.q", "")
PATCH = "diffusion_model.patch_embedding."
REFUSED: Mapping[str, tuple[Tensors, str]] = {
    "more blocks": (ordinary(blocks=(0, 1, 2))[0], "no place in it: diffusion_model.blocks.2.cross_attn.k.lora_down"),
    "another model": (ordinary(dotted("text_model.encoder."))[0], "text_model.encoder.blocks.0.cross_attn.k.lora_down"),
    "no up": (without(ordinary()[0], "1.self_attn.q.lora_up.weight"), "blocks.1.self_attn.q.lora_down.weight"),
    "a magnitude alone": ({f"{Q}dora_scale": torch.ones(DIM, 1)}, "dora_scale is not of the shape"),
    "a wrong width": ({f"{Q}lora_down.weight": torch.ones(4, 9), f"{Q}lora_up.weight": torch.ones(DIM, 4)}, "q.lora_d"),
    "a wrong bias": ({**ordinary()[0], f"{Q}diff_b": torch.ones(7)}, "q.diff_b is not of the shape"),
    "LoHa": ({f"{Q}hada_w1_a": torch.ones(4, 4)}, "q.hada_w1_a"),
    "a scaled float8": ({**ordinary()[0], f"{Q}lora_down.scale_weight": torch.ones(1)}, "lora_down.scale_weight"),
    "half a LoKr": ({f"{Q}lokr_w1": torch.ones(2, 2)}, "q.lokr_w1"),
    "a LoKr of another size": ({f"{Q}lokr_w1": torch.ones(2, 2), f"{Q}lokr_w2": torch.ones(5, 5)}, "q.lokr_w1 is not"),
    "factors of a norm": ({"blocks.0.norm3.lora_down.weight": torch.ones(1, DIM)}, "norm3.lora_down.weight"),
    "two adapters in one": ({**ordinary(**PEFT)[0], **ordinary(**NAMED)[0]}, "lora_A.*weight"),
    "a text encoder's": ({**ordinary()[0], "lora_te_blocks_0.lora_down.weight": torch.ones(4, 8)}, "lora_te_blocks_0"),
    "both experts in one": (ordinary(ours("transformer_2."), **PEFT)[0], "transformer_2.blocks.0"),
    "Tucker": ({**ordinary()[0], f"{Q}lora_mid.weight": torch.ones(4, 4)}, "q.lora_mid.weight"),
    "no rank": ({f"{Q}lora_down.weight": torch.ones(0, DIM), f"{Q}lora_up.weight": torch.ones(DIM, 0)}, "is not of"),
    "a number for a factor": ({**ordinary()[0], f"{Q}lora_down.weight": torch.ones(())}, "q.lora_down.weight is no"),
    "two ranks": (
        {f"{PATCH}lora_down.weight": torch.ones(2, 16, 1, 2, 2), f"{PATCH}lora_up.weight": torch.ones(DIM, 3, 1, 1, 1)},
        "patch_embedding.lora_up.weight is not of the shape",
    ),
    "a convolution of another width": (
        {f"{PATCH}lora_down.weight": torch.ones(2, 15, 1, 2, 2), f"{PATCH}lora_up.weight": torch.ones(DIM, 2, 1, 1, 1)},
        "patch_embedding.lora_up.weight is not of the shape",
    ),
    "a LoKr of two ranks": (
        {f"{Q}lokr_w1": torch.ones(2, 2), f"{Q}lokr_w2_a": torch.ones(12, 2), f"{Q}lokr_w2_b": torch.ones(3, 12)},
        "q.lokr_w2_a is not of the shape",
    ),
    "a LoKr that is no matrix": ({f"{Q}lokr_w1": torch.ones(2), f"{Q}lokr_w2": torch.ones(12, 12)}, "q.lokr_w1 is not"),
    "an alpha without a number": ({**ordinary()[0], f"{Q}alpha": torch.ones(0)}, "q.alpha is not one number"),
    "an alpha that is NaN": ({**ordinary()[0], f"{Q}alpha": torch.tensor(float("nan"))}, "q.lora_down.weight is not"),
    "no tensors": ({"__nothing__": torch.ones(1)}, "__nothing__"),
}  # type: ignore[arg-type]  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_place_is_refused_by_its_key_and_leaves_no_trace(
    name: str, bare: Any, model: Any, tmp_path: Path
) -> None:
    known = Adapters()
    good = Adapter(written(tmp_path / "good.safetensors", ordinary()[0]), "high", 1.0)
    bad = Adapter(written(tmp_path / "bad.safetensors", REFUSED[name][0]), "high", 1.0)

    with pytest.raises(InvalidRequest, match=REFUSED[name][1]) as caught:
        use(model, good, bad, known=known)

    assert str(caught.value).startswith("LoRA bad.safetensors does not fit this model")
    assert torch.equal(made(bare), made(model))
    use(model, good, known=known)
    assert not torch.equal(made(bare), made(model))


def test_a_file_that_is_no_lora_is_refused(model: Any, tmp_path: Path) -> None:
    (tmp_path / "cut.safetensors").write_bytes(b"not a header")

    with pytest.raises(InvalidRequest, match=r"LoRA cut\.safetensors does not fit this model"):
        use(model, Adapter(str(tmp_path / "cut.safetensors"), "high", 1.0))
    with pytest.raises(InvalidRequest, match="this model has no low-noise expert"):
        use(model, Adapter(written(tmp_path / "a.safetensors", ordinary()[0]), "low", 1.0))
    with pytest.raises(InvalidRequest, match="cannot be read"):
        use(model, Adapter(str(tmp_path / "gone.safetensors"), "high", 1.0))


@torch.no_grad()
def test_a_half_precision_model_keeps_its_dtype_and_its_float32_layers(bare: Any, tmp_path: Path) -> None:
    tensors, deltas = with_differences("diff_m")
    half = copy.deepcopy(bare)
    for name, parameter in half.named_parameters():
        if not any(word in name for word in ("time_embedder", "scale_shift_table", "norm2")):
            parameter.data = parameter.data.bfloat16()
    use(half, Adapter(written(tmp_path / "a.safetensors", tensors), "high", 0.25))

    clip, text = randn(1, 16, 3, 8, 8, seed=7).bfloat16(), randn(1, 16, 32, seed=8).bfloat16()
    got = half(hidden_states=clip, timestep=torch.tensor([900.0]), encoder_hidden_states=text, return_dict=False)[0]
    assert torch.bfloat16 == got.dtype
    assert far(got.float(), made(twin_of(bare, (deltas, 0.25)))) < 0.05


def test_a_failing_run_leaves_the_models_own_parameters(bare: Any, model: Any, tmp_path: Path) -> None:
    use(model, Adapter(written(tmp_path / "a.safetensors", with_differences("diff_m")[0]), "high", 1.0))
    own = model.blocks[0].scale_shift_table

    with pytest.raises(RuntimeError), torch.no_grad():
        model.blocks[0](torch.zeros(1, 4, DIM), torch.zeros(1, 4, 7), torch.zeros(1, 6, DIM), None)

    assert own is model.blocks[0].scale_shift_table


class Eight(torch.nn.Linear):
    """A layer whose weight stays in float8, as the loader of ComfyUI's files makes them; `weight` is a stand-in."""

    def __init__(self, of: torch.nn.Linear) -> None:
        torch.nn.Module.__init__(self)
        self.in_features, self.out_features, self.bias = of.in_features, of.out_features, of.bias
        self.register_buffer("fp8", of.weight.data.to(EIGHT))

    @property
    def weight(self) -> torch.Tensor:
        return torch.full((), float("nan")).expand(self.out_features, self.in_features)

    def dequantised(self) -> torch.Tensor:
        return self.fp8.float()

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.linear(given, self.dequantised(), self.bias)


@pytest.mark.parametrize("name", ["kohya", "LoKr", "DoRA, ComfyUI", "DoRA of inputs", "diff_b on all layers"])
def test_over_float8_a_lora_gives_what_it_gives_over_the_dequantised_weights(
    name: str, bare: Any, model: Any, tmp_path: Path
) -> None:
    twin = copy.deepcopy(bare)
    for layer, module in [*model.named_modules()]:
        if isinstance(module, torch.nn.Linear) and layer.startswith("blocks."):
            place, _, own = layer.rpartition(".")
            eight = Eight(module)
            setattr(model.get_submodule(place), own, eight)
            twin.get_submodule(layer).weight.data = eight.dequantised()
    path = written(tmp_path / "a.safetensors", case(name, bare)[0])

    for each in (model, twin):
        use(each, Adapter(path, "high", 0.5))

    assert far(made(twin), made(bare)) > 1e-3
    assert torch.equal(made(twin), made(model))
