"""The parts of a pipeline read from files of every layout, against the models that the files were written from."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers, convert_wan_vae_to_diffusers
from safetensors.torch import load_file, save_file
from transformers import UMT5Config, UMT5EncoderModel

from fakes import tiny_wan
from fakes.headers import Described, scaled, write_header
from fakes.weight_files import (
    Style,
    dequantised,
    sentencepiece_model,
    stored,
    upstream_text_encoder,
    upstream_transformer,
    upstream_vae,
)
from wanworker.engines.resident.child._residence import Copier, Residence
from wanworker.engines.resident.child.weights import parts
from wanworker.engines.resident.child.weights._fp8 import Fp8Linear
from wanworker.engines.resident.child.weights._reading import Copy, read_all
from wanworker.engines.resident.child.weights.parts import Kept, Place, load_parts
from wanworker.engines.resident.protocol import Placement
from wanworker.models.sources import configs
from wanworker.models.sources.checkpoint import CannotLoad, StoredTensor
from wanworker.models.sources.names import transformer_names, vae_names

CPU = torch.device("cpu")
FLOAT32, BFLOAT16 = Place(CPU, torch.float32), Place(CPU, torch.bfloat16)

STYLES: tuple[Style, ...] = ("plain", "cast", "old", "new", "metadata")


def load(place: Place, kept: Kept | None = None, **paths: Path) -> dict[str, Any]:
    """Load these parts and a tokenizer, which every pipeline has."""
    tokenizer = next(iter(paths.values())).parent / "tokenizer"
    if not tokenizer.exists():
        tiny_wan.tokenizer().save_pretrained(tokenizer)
    names = {"tokenizer": str(tokenizer)} | {name: str(path) for name, path in paths.items()}
    return load_parts(names, place, kept or Kept(), lambda _done, _size: None)


@pytest.fixture(scope="module")
def transformer() -> Any:
    """Return a transformer whose matrices are large enough to have an effect, and whose norms are not all one."""
    model = tiny_wan.transformer(16, 16, 0)
    generator = torch.Generator().manual_seed(1)
    for tensor in model.parameters():
        tensor.data += torch.randn(tensor.shape, generator=generator) * 0.05
    return model.requires_grad_(False)


def computed(model: Any, dtype: torch.dtype) -> Any:
    generator = torch.Generator().manual_seed(2)
    latents = torch.randn(1, 16, 2, 4, 4, generator=generator).to(dtype)
    text = torch.randn(1, 8, tiny_wan.TEXT_DIM, generator=generator).to(dtype)
    with torch.no_grad():
        return model(
            hidden_states=latents, timestep=torch.tensor([937.0]), encoder_hidden_states=text, return_dict=False
        )[0]


def twin_of(path: Path, model: Any, dtype: torch.dtype) -> Any:
    """Return the model of the numbers that the file stands for, in *dtype* where the model itself would have it."""
    twin = WanTransformer3DModel.from_config(model.config)
    found = dequantised(load_file(path))
    names = transformer_names(found)
    twin.load_state_dict({names[name]: tensor for name, tensor in found.items()})
    exact = set(twin._keep_in_fp32_modules)
    for name, tensor in twin.named_parameters():
        tensor.data = tensor.data.to(torch.float32 if exact.intersection(name.split(".")) else dtype)
    return twin.eval()


def written(path: Path, model: Any, style: Style, **options: Any) -> Path:
    """Write *model* with upstream's names, and its configuration beside it."""
    tensors, metadata = stored(upstream_transformer(model.state_dict()), style, **options)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata=metadata)
    model.save_config(path.parent / "config")
    (path.parent / "config" / "config.json").rename(path.with_suffix(".json"))
    return path


@pytest.mark.parametrize("place", [FLOAT32, BFLOAT16])
@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("options", [{}, {"prefix": "model.diffusion_model.", "full": True}])
def test_a_single_file_computes_what_its_dequantised_twin_does(
    tmp_path: Path, transformer: Any, style: Style, place: Place, options: dict[str, Any]
) -> None:
    path = written(tmp_path / "a.safetensors", transformer, style, **options)

    model = load(place, transformer=path)["transformer"]

    assert torch.equal(
        computed(twin_of(path, transformer, place.compute), place.compute), computed(model, place.compute)
    )
    kept = [module for module in model.modules() if isinstance(module, Fp8Linear)]
    assert (0 if style == "plain" else 20) == len(kept)
    says_full = bool(options) and style in {"old", "new", "metadata"}
    assert all(module.needs_full_precision == says_full for module in kept)


SCALES: dict[str, Callable[[torch.Tensor, int], torch.Tensor]] = {
    "one in a list": lambda scale, _: scale.reshape(1),
    "one in a table": lambda scale, _: scale.reshape(1, 1),
    "one in bfloat16": lambda scale, _: scale.bfloat16(),
    "one in float16": lambda scale, _: (scale * 2**8).half(),
    "one in float64": lambda scale, _: scale.double(),
    "one for each row": lambda scale, rows: scale * torch.linspace(0.5, 2, rows),
    "one for each row, in a table": lambda scale, rows: (scale * torch.linspace(0.5, 2, rows)).reshape(-1, 1),
    "one for each row, in bfloat16": lambda scale, rows: (scale * torch.linspace(0.5, 2, rows)).bfloat16(),
}


@pytest.mark.parametrize("name", SCALES)
@pytest.mark.parametrize("style", ["old", "new"])
def test_scales_of_every_shape_and_type_are_heeded(tmp_path: Path, transformer: Any, style: Style, name: str) -> None:
    """What a scale of the activations says is for another way of multiplying, and changes nothing."""
    path = written(tmp_path / "a.safetensors", transformer, style)
    tensors = load_file(path)
    for key in [key for key in tensors if key.endswith(("scale_weight", "weight_scale"))]:
        weight = tensors[f"{key.rpartition('.')[0]}.weight"]
        tensors[key] = SCALES[name](tensors[key], len(weight))
        tensors[key.replace("scale_weight", "scale_input").replace("weight_scale", "input_scale")] = torch.tensor(3.0)
    save_file(tensors, path)

    model = load(FLOAT32, transformer=path)["transformer"]

    kept = {key: each for key, each in tensors.items() if "scale_input" not in key and "input_scale" not in key}
    is_scale = ("scale_weight", "weight_scale")
    twin = {key: each.float().reshape(-1, 1) if key.endswith(is_scale) else each for key, each in kept.items()}
    save_file(twin, tmp_path / "twin.safetensors")
    assert torch.equal(
        computed(twin_of(tmp_path / "twin.safetensors", transformer, torch.float32), torch.float32),
        computed(model, torch.float32),
    )


def test_a_file_may_mix_numbers_of_all_types(tmp_path: Path, transformer: Any) -> None:
    path = written(tmp_path / "a.safetensors", transformer, "old")
    tensors = load_file(path)
    whole = upstream_transformer(transformer.state_dict())
    for layer, dtype in (("self_attn.q", torch.bfloat16), ("cross_attn.k", torch.float16), ("ffn.0", torch.float64)):
        tensors[f"blocks.0.{layer}.weight"] = whole[f"blocks.0.{layer}.weight"].to(dtype)
        del tensors[f"blocks.0.{layer}.scale_weight"]
    tensors["blocks.1.self_attn.v.bias"] = whole["blocks.1.self_attn.v.bias"].to(torch.float8_e4m3fn)
    tensors["blocks.1.self_attn.o.weight"] = tensors["blocks.1.self_attn.o.weight"].float().to(torch.float8_e5m2)
    save_file(tensors, path)

    model = load(FLOAT32, transformer=path)["transformer"]

    assert 17 == len([module for module in model.modules() if isinstance(module, Fp8Linear)])
    assert torch.equal(
        computed(twin_of(path, transformer, torch.float32), torch.float32), computed(model, torch.float32)
    )


def test_no_attribute_called_weight_is_float8_and_none_of_the_models_numbers_is_converted(
    tmp_path: Path, transformer: Any
) -> None:
    model = load(BFLOAT16, transformer=written(tmp_path / "a.safetensors", transformer, "old"))["transformer"]
    layer = next(module for module in model.modules() if isinstance(module, Fp8Linear))

    layer.to(torch.float16)

    assert (torch.float8_e4m3fn, torch.float32) == (layer.fp8.dtype, layer.scale.dtype)
    assert torch.bfloat16 == layer.weight.dtype
    assert layer.weight.isnan().all()
    assert (layer.out_features, layer.in_features) == tuple(layer.weight.shape)


def test_a_lora_over_float8_is_exact_and_leaves_no_trace(tmp_path: Path, transformer: Any) -> None:
    path = written(tmp_path / "a.safetensors", transformer, "old")
    model, twin = load(BFLOAT16, transformer=path)["transformer"], twin_of(path, transformer, torch.bfloat16)
    before = computed(model, torch.bfloat16)
    generator = torch.Generator().manual_seed(3)
    lora = {
        f"transformer.blocks.0.{layer}.lora_{half}.weight": torch.randn(shape, generator=generator) * 0.2
        for layer in ("attn1.to_q", "attn2.to_v")
        for half, shape in (("A", (4, 24)), ("B", (24, 4)))
    }

    for each in (model, twin):
        each.load_lora_adapter(dict(lora), adapter_name="a", prefix="transformer")
    with_lora = computed(model, torch.bfloat16)

    assert torch.equal(computed(twin, torch.bfloat16), with_lora)
    assert not torch.equal(before, with_lora)
    model.unload_lora()
    assert torch.equal(before, computed(model, torch.bfloat16))


def change(path: Path, make: Callable[[dict[str, Any]], object]) -> None:
    tensors = load_file(path)
    make(tensors)
    save_file(tensors, path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda tensors: tensors.pop("blocks.1.norm3.weight"), r"blocks\.1\.norm2\.weight is missing"),
        (
            lambda tensors: tensors.update({"blocks.0.audio.weight": torch.ones(2, 2)}),
            r"blocks\.0\.audio\.weight has no",
        ),
        (
            lambda tensors: tensors.update({"blocks.0.self_attn.q.bias": torch.ones(7)}),
            r"shape \[7\], the model's is \[24",
        ),
        (lambda tensors: tensors.pop("head.head.weight"), r"head\.head\.weight is missing"),
    ],
)
def test_a_tensor_too_many_or_too_few_is_named_before_anything_is_read(
    tmp_path: Path, transformer: Any, make: Callable[[dict[str, Any]], object], message: str
) -> None:
    path = written(tmp_path / "a.safetensors", transformer, "plain")
    change(path, make)
    told: list[int] = []

    with pytest.raises(CannotLoad, match=rf"a\.safetensors: .*{message}"):
        load_parts({"tokenizer": "", "transformer": str(path)}, FLOAT32, Kept(), lambda done, _: told.append(done))
    assert [] == told


@pytest.mark.parametrize("form", ["safetensors", "prefixed.safetensors", "pth", "folder"])
@pytest.mark.parametrize("channels", [16, 48])
def test_each_vae_of_each_form_decodes_and_encodes_as_it_did(tmp_path: Path, form: str, channels: int) -> None:
    source = tiny_wan.vae(channels)
    config = {name: value for name, value in source.config.items() if not name.startswith("_")}
    names = upstream_vae(source.state_dict(), res_blocks=config["num_res_blocks"])
    path = tmp_path / f"vae.{form}"
    if form == "folder":
        source.save_pretrained(path)
    else:
        names = {f"model.{name}" if form.startswith("prefixed") else name: tensor for name, tensor in names.items()}
        torch.save(names, path) if form == "pth" else save_file(names, path)
        source.save_config(tmp_path / "config")
        (tmp_path / "config" / "config.json").rename(path.with_suffix(".json"))

    model = load(BFLOAT16, vae=path)["vae"]

    latents, clip = torch.randn(1, channels, 2, 2, 2), torch.rand(1, 3, 5, 32, 32)
    with torch.no_grad():
        assert torch.equal(source.decode(latents, return_dict=False)[0], model.decode(latents, return_dict=False)[0])
        assert torch.equal(source.encode(clip).latent_dist.mode(), model.encode(clip).latent_dist.mode())
    assert {torch.float32} == {tensor.dtype for tensor in model.parameters()}


def test_the_names_of_the_released_models_are_those_that_diffusers_gives_them() -> None:
    with torch.device("meta"):
        wan = WanTransformer3DModel(in_channels=36, num_layers=3)
        vae_21 = AutoencoderKLWan()
        vae_22 = AutoencoderKLWan(**configs.VAES[48])
    native, native_vae = upstream_transformer(wan.state_dict()), upstream_vae(vae_21.state_dict(), res_blocks=2)
    nested = upstream_vae(vae_22.state_dict(), res_blocks=2)

    assert {new: old for old, new in transformer_names(native).items()} == convert_wan_transformer_to_diffusers(
        {name: name for name in native}
    )
    assert {new: old for old, new in vae_names(native_vae).items()} == convert_wan_vae_to_diffusers(
        {name: name for name in native_vae}
    )
    assert set(vae_22.state_dict()) == set(vae_names(nested).values())


def released(name: str) -> tuple[str, dict[str, Any]]:
    """Return the component, and the tensors under the names that its released file has."""
    sizes = {"num_attention_heads": 40, "in_channels": 36, "out_channels": 16, "num_layers": 40, "ffn_dim": 13824}
    small = {"num_attention_heads": 24, "in_channels": 48, "out_channels": 48, "num_layers": 30, "ffn_dim": 14336}
    with torch.device("meta"):
        if name == "umt5":
            model = UMT5EncoderModel(UMT5Config(**configs.UMT5_XXL))
            return "text_encoder", {key: each for key, each in model.state_dict().items() if "embed_tokens" not in key}
        if name.startswith("vae"):
            model = AutoencoderKLWan(**configs.VAES[int(name.removeprefix("vae"))])
            return "vae", upstream_vae(model.state_dict(), res_blocks=2)
        model = WanTransformer3DModel(text_dim=4096, freq_dim=256, **(sizes if name == "i2v" else small))
        return "transformer", upstream_transformer(model.state_dict())


@pytest.mark.parametrize("name", ["i2v", "ti2v", "umt5", "vae16", "vae48"])
def test_files_of_the_released_models_have_a_place_for_every_tensor_in_fp8_too(tmp_path: Path, name: str) -> None:
    """The files are holes with true headers: nothing but these is read."""
    component, tensors = released(name)
    described: Described = {}
    for key, tensor in tensors.items():
        is_matrix = tensor.ndim == 2 and key.endswith(".weight") and "shared" not in key and "bias" not in key
        described[key] = ("F8_E4M3" if is_matrix and component != "vae" else "F16", tuple(tensor.shape))
    path = write_header(tmp_path / "a.safetensors", scaled(described) if component != "vae" else described)

    filling = parts._FILLINGS[component](path, BFLOAT16, False)

    kept = [module for module in filling.model.modules() if isinstance(module, Fp8Linear)]
    assert {"i2v": 400, "ti2v": 300, "umt5": 168}.get(name, 0) == len(kept)
    numbers = {key: math.prod(shape) for key, (_, shape) in described.items()}
    stored_bytes = sum(numbers[key] * (1 if dtype == "F8_E4M3" else 2) for key, (dtype, _) in described.items())
    assert stored_bytes + 4 * len(kept) == filling.size_bytes


@pytest.mark.parametrize("form", ["plain", "old", "new", "pth"])
def test_a_text_encoder_of_each_form_is_its_dequantised_twin(tmp_path: Path, form: str) -> None:
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "feed_forward_proj": "gated-gelu"}
    config = UMT5Config(vocab_size=260, tie_word_embeddings=False, **sizes)
    source = UMT5EncoderModel(config).eval()
    source.set_input_embeddings(source.shared)
    tensors = {name: tensor for name, tensor in source.state_dict().items() if "embed_tokens" not in name}
    path = tmp_path / ("umt5.pth" if form == "pth" else "umt5.safetensors")
    twin = tensors
    if form == "pth":
        torch.save(upstream_text_encoder(tensors), path)
    else:
        kept, _ = stored(tensors, form)  # type: ignore[arg-type]  # three of its styles
        save_file({name: tensor.contiguous() for name, tensor in kept.items()}, path)
        twin = dequantised(kept)
    path.with_suffix(".json").write_text(
        config.to_json_string(use_diff=False).replace('"architectures": null', '"architectures": ["UMT5EncoderModel"]')
    )
    source.load_state_dict(twin | {"encoder.embed_tokens.weight": twin["shared.weight"]})

    model = load(FLOAT32, text_encoder=path)["text_encoder"]

    ids = torch.arange(3, 19).view(2, 8)
    with torch.no_grad():
        assert torch.equal(source(ids).last_hidden_state, model(ids).last_hidden_state)
    assert any(isinstance(module, Fp8Linear) for module in model.modules()) == (form in {"old", "new"})


TEXTS = ("a cat walks", "", "  two  spaces ", "tab\there", "caf\u00e9 \u732b \U0001f600", "A" * 300)


def test_the_tokenizer_inside_a_text_encoder_reads_as_the_models_own(tmp_path: Path) -> None:
    pieces = [("<pad>", 0.0, 3), ("</s>", 0.0, 3), ("<unk>", 0.0, 2), ("\u2581", -1.0, 1)]
    pieces += [(f"<0x{byte:02X}>", -6.0, 6) for byte in range(256)]
    model = sentencepiece_model(pieces)
    path = tmp_path / "umt5.safetensors"
    save_file({"a": torch.ones(1), "spiece_model": torch.tensor(list(model), dtype=torch.uint8)}, path)

    made = load_parts({"tokenizer": str(path)}, FLOAT32, Kept(), lambda _done, _size: None)["tokenizer"]

    known = tiny_wan.tokenizer()
    for text in TEXTS:
        options = {"padding": "max_length", "max_length": 64, "truncation": True}
        assert known(text, **options)["input_ids"] == made(text, **options)["input_ids"], text
    assert (0, 1) == (made.pad_token_id, made.eos_token_id)


def test_the_tokenizer_of_upstreams_folder_may_be_a_sentencepiece_model_alone(tmp_path: Path) -> None:
    pieces = [("<pad>", 0.0, 3), ("</s>", 0.0, 3), ("<unk>", 0.0, 2), ("\u2581a", -1.0, 1), ("b", -2.0, 1)]
    (tmp_path / "spiece.model").write_bytes(sentencepiece_model(pieces))

    made = load_parts({"tokenizer": str(tmp_path)}, FLOAT32, Kept(), lambda _done, _size: None)["tokenizer"]

    assert [3, 4, 2, 1] == made("ab?")["input_ids"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("tokenizer.json", "{"),
        ("tokenizer.json", "{}"),
        ("tokenizer_config.json", "{"),
        ("tokenizer_config.json", "[]"),
    ],
)
def test_a_folder_with_a_damaged_tokenizer_is_named(tmp_path: Path, name: str, text: str) -> None:
    tiny_wan.tokenizer().save_pretrained(tmp_path / "mine")
    (tmp_path / "mine" / name).write_text(text)

    with pytest.raises(CannotLoad, match="mine: the tokenizer in it cannot be used: "):
        load_parts({"tokenizer": str(tmp_path / "mine")}, FLOAT32, Kept(), lambda _done, _size: None)


def test_a_file_or_folder_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "umt5.safetensors")
    (tmp_path / "empty").mkdir()

    for name, message in (("umt5.safetensors", "umt5.safetensors: no tokenizer is in this file"), ("empty", "empty: ")):
        with pytest.raises(CannotLoad, match=f"^{message}"):
            load_parts({"tokenizer": str(tmp_path / name)}, FLOAT32, Kept(), lambda _done, _size: None)


def test_what_is_no_tokenizer_is_named(tmp_path: Path) -> None:
    path = tmp_path / "umt5.safetensors"
    save_file({"spiece_model": torch.tensor([255, 255, 7], dtype=torch.uint8)}, path)

    with pytest.raises(CannotLoad, match=r"umt5\.safetensors: the tokenizer in it cannot be used"):
        load_parts({"tokenizer": str(path)}, FLOAT32, Kept(), lambda _done, _size: None)


def test_more_than_tensors_in_a_pth_is_refused_and_not_run(tmp_path: Path) -> None:
    path = tmp_path / "vae.pth"
    torch.save({"a": Path("/")}, path)

    with pytest.raises(CannotLoad, match=r"vae\.pth is damaged, or more than weights are in it"):
        load_parts({"tokenizer": "", "vae": str(path)}, FLOAT32, Kept(), lambda _done, _size: None)


def test_every_byte_is_counted_and_a_file_that_ends_early_is_named(tmp_path: Path, transformer: Any) -> None:
    path = written(tmp_path / "a.safetensors", transformer, "old")
    tiny_wan.tokenizer().save_pretrained(tmp_path / "tokenizer")
    paths = {"tokenizer": str(tmp_path / "tokenizer"), "transformer": str(path)}
    told: list[tuple[int, int]] = []

    load_parts(paths, FLOAT32, Kept(), lambda done, size: told.append((done, size)))

    assert told[-1][0] == told[-1][1] > path.stat().st_size / 2
    assert told == sorted(told)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_file_that_ends_in_the_middle_of_its_weights_is_named(tmp_path: Path, dtype: torch.dtype) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(bytes(100))
    source = StoredTensor(path, "F32", (64,), 8, 256)

    with pytest.raises(CannotLoad, match=r"/a\.safetensors is damaged: it ends at byte 100"):
        read_all([Copy(source, torch.empty(64, dtype=dtype))], lambda _size: None)


def test_a_second_model_does_not_read_again_what_it_shares(tmp_path: Path, transformer: Any) -> None:
    vae = tiny_wan.vae(16)
    vae.save_pretrained(tmp_path / "vae")
    path = written(tmp_path / "a.safetensors", transformer, "plain")
    kept = Kept()
    first = load(FLOAT32, kept, transformer=path, vae=tmp_path / "vae")

    second = load(FLOAT32, kept, transformer=path, vae=tmp_path / "vae")
    (tmp_path / "vae" / "diffusion_pytorch_model.safetensors").touch()
    third = load(FLOAT32, kept, transformer=path, vae=tmp_path / "vae")

    assert first["vae"] is second["vae"]
    assert first["transformer"] is not second["transformer"]
    assert third["vae"] is not second["vae"]


def test_a_second_task_reads_its_own_experts_alone(tmp_path: Path, transformer: Any) -> None:
    """What it shares is told as no bytes, also where its placement has that part elsewhere."""
    tiny_wan.vae(16).save_pretrained(tmp_path / "vae")
    tiny_wan.text_encoder().save_pretrained(tmp_path / "text_encoder")
    other = written(tmp_path / "b.safetensors", tiny_wan.transformer(36, 16, 1), "plain")
    first = {"transformer": written(tmp_path / "a.safetensors", transformer, "plain"), "vae": tmp_path / "vae"}
    first["text_encoder"] = tmp_path / "text_encoder"
    kept, told = Kept(), list[tuple[int, int]]()
    before = load(FLOAT32, kept, **first)

    paths = {name: str(path) for name, path in (first | {"transformer": other}).items()}
    place = Place(CPU, torch.float32, waiting=frozenset({"text_encoder", "vae"}))
    after = load_parts(
        paths | {"tokenizer": str(tmp_path / "tokenizer")}, place, kept, lambda done, size: told.append((done, size))
    )

    own_bytes = sum(tensor.numel() * 4 for tensor in after["transformer"].parameters())
    assert (own_bytes, own_bytes) == told[-1]
    assert all(before[name] is after[name] for name in ("vae", "text_encoder", "tokenizer"))


class OnHost(Copier):
    """A card that is a part of main memory: only what lies in a slab is copied to it."""

    def is_on(self, tensor: torch.Tensor, device: torch.device) -> bool:
        """Say that everything else is where it has to be."""
        return True

    def enter(self, slab: Any, device: torch.device) -> None:
        """Copy within main memory."""
        slab.enter(CPU)


def test_two_experts_take_turns_and_compute_the_same(tmp_path: Path, transformer: Any) -> None:
    other = tiny_wan.transformer(16, 16, 1)
    paths = {"transformer": written(tmp_path / "high.safetensors", transformer, "old")}
    paths["transformer_2"] = written(tmp_path / "low.safetensors", other, "old")
    loaded = load(FLOAT32, **paths)
    before = [computed(loaded[name], torch.float32) for name in paths]
    homes = [loaded[name].patch_embedding.weight.data_ptr() for name in paths]
    residence = Residence({name: loaded[name] for name in paths}, torch.device("cuda"), OnHost())
    residence.follow(Placement("cuda", experts="slot"))

    after = [computed(loaded[name], torch.float32) for name in paths]
    away = [loaded[name].patch_embedding.weight.data_ptr() for name in paths]
    residence.withdraw()
    at_rest = [loaded[name].patch_embedding.weight.data_ptr() for name in paths]

    assert all(torch.equal(one, two) for one, two in zip(before, after, strict=True))
    assert [homes[0], homes[1]] == at_rest
    assert homes[0] == away[0], "the first has left when the second came"
    assert homes[1] != away[1]
