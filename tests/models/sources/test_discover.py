"""Models put together from files of any layout, by their headers alone."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from fakes.headers import Described, scaled, text_encoder, transformer, vae, write_header
from fakes.wan_folder import ONE_EXPERT, wan_folder
from wanworker.errors import InvalidRequest, ModelNotFound
from wanworker.models.sources.discover import Source, Sources

FP8 = scaled(transformer(dtype="F8_E4M3"))
HIGH, LOW = (f"wan2.2_t2v_{half}_noise_14B_fp8_scaled.safetensors" for half in ("high", "low"))
FIVE_B, FASTWAN = "wan2.2_ti2v_5B_fp16.safetensors", "Wan2_2-TI2V-5B-FastWanFullAttn_bf16.safetensors"

#: ComfyUI's folders, the older names among them.
PLACES = {
    "diffusion_models": ("diffusion_models", "unet"),
    "text_encoders": ("text_encoders", "clip"),
    "vae": ("vae",),
}


def sources(*roots: Path) -> Sources:
    def folders(kind: str) -> Iterable[Path]:
        return [root / part for root in roots for part in PLACES[kind]]

    return Sources(roots, folders)


def shared(root: Path, *, text: str = "text_encoders", channels: Iterable[int] = (16, 48)) -> None:
    write_header(root / text / "umt5_xxl_fp8_e4m3fn_scaled.safetensors", text_encoder())
    for number in channels:
        write_header(root / "vae" / f"wan_vae_{number}.safetensors", vae(number))


def pair(root: Path, tensors: Described, *, folder: str = "diffusion_models", high: str = HIGH, low: str = LOW) -> None:
    for name in (high, low):
        write_header(root / folder / name, tensors)


def only(found: list[Source]) -> Source:
    (source,) = found
    return source


def test_a_pair_of_single_files_is_a_model_with_what_lies_beside_it(tmp_path: Path) -> None:
    pair(tmp_path, FP8)
    shared(tmp_path)

    source = only(sources(tmp_path).find("t2v-A14B"))

    assert () == source.faults
    assert (f"{HIGH} + {LOW}", "fp8_scaled", 2) == (source.name, source.form, source.experts)
    assert tmp_path / "diffusion_models" / LOW == source.parts["transformer_2"]
    assert tmp_path / "vae" / "wan_vae_16.safetensors" == source.parts["vae"]
    assert source.parts["text_encoder"] == source.parts["tokenizer"]
    assert [] == sources(tmp_path).find("i2v-A14B")


@pytest.mark.parametrize(
    ("channels", "names", "task"),
    [
        ((36, 16), ("wan_high_noise.safetensors", "wan_low_noise.safetensors"), "i2v-A14B"),
        ((16, 16), ("wan_high_noise.safetensors", "wan_low_noise.safetensors"), "t2v-A14B"),
        ((48, 48), ("wan_5B.safetensors",), "ti2v-5B"),
    ],
)
def test_the_task_is_told_from_the_shapes(
    tmp_path: Path, channels: tuple[int, int], names: tuple[str, ...], task: str
) -> None:
    for name in names:
        write_header(tmp_path / "unet" / name, transformer(*channels))
    shared(tmp_path, text="clip")

    found = {kind: sources(tmp_path).find(kind) for kind in ("t2v-A14B", "i2v-A14B", "ti2v-5B")}

    assert {task} == {kind for kind, models in found.items() if models}
    assert () == only(found[task]).faults


def test_every_model_is_named_with_its_task(tmp_path: Path) -> None:
    pair(tmp_path, FP8)
    write_header(tmp_path / "unet" / FIVE_B, transformer(48, 48))
    wan_folder(tmp_path / "Wan2.2-T2V-A14B-Diffusers")

    names = sources(tmp_path).names()

    assert {HIGH: "t2v-A14B", LOW: "t2v-A14B", FIVE_B: "ti2v-5B", "Wan2.2-T2V-A14B-Diffusers": "t2v-A14B"} == names


def test_a_folder_that_two_tasks_render_with_is_that_of_the_task_it_is_named_for(tmp_path: Path) -> None:
    home = tmp_path / "Wan2.2-T2V-A14B"
    for half in ("high", "low"):
        write_header(home / f"{half}_noise_model" / "diffusion_pytorch_model.safetensors", transformer(16, 16))

    assert "t2v-A14B" == sources(tmp_path).names()["Wan2.2-T2V-A14B"]


def test_a_file_that_cannot_be_read_says_so_and_hides_no_other(tmp_path: Path) -> None:
    pair(tmp_path, FP8)
    index = tmp_path / "diffusion_models" / "other" / "model.safetensors.index.json"
    index.parent.mkdir(parents=True, exist_ok=True)
    index.symlink_to(index.name)  # whoever opens it gets an OSError

    assert HIGH in sources(tmp_path).names()


def test_parts_may_lie_in_different_roots_and_sizes_are_those_once_loaded(tmp_path: Path) -> None:
    pair(tmp_path / "a", FP8)
    shared(tmp_path / "b")

    source = only(sources(tmp_path / "a", tmp_path / "b").find("t2v-A14B"))

    matrices = 2 * (256 * 256 + 512 * 256)  # in the blocks, one byte each
    others = 256 * 16 * 4 + 256 + 256 * 4096 + 256 * 256 + 64 * 256 + 2 * 256 + 2 * (256 + 256)
    assert matrices + 2 * others == source.sizes_bytes["transformer"]
    assert 4 * (8 * 3 * 27 + 16 * 16) == source.sizes_bytes["vae"]


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    pair(tmp_path, FP8)
    shared(tmp_path, channels=(48,))

    assert ("no VAE of 16 channels (vae/wan_2.1_vae.safetensors)",) == only(sources(tmp_path).find("t2v-A14B")).faults


def test_a_folder_of_diffusers_that_lacks_a_part_takes_it_from_elsewhere(tmp_path: Path) -> None:
    folder = wan_folder(tmp_path / "Wan2.2-T2V-A14B-Diffusers")
    for component in ("transformer", "transformer_2"):
        path = folder / component
        tensors = transformer()
        tensors["proj_out.weight"] = tensors.pop("head.head.weight")
        write_header(path / "diffusion_pytorch_model.safetensors", tensors)
        config = {"_class_name": "WanTransformer3DModel", "in_channels": 16, "out_channels": 16, "text_dim": 4096}
        (path / "config.json").write_text(json.dumps(config))
    (folder / "text_encoder" / "model.safetensors").unlink()
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    shared(tmp_path)

    source = only(sources(tmp_path).find("t2v-A14B"))

    assert () == source.faults
    assert tmp_path / "text_encoders" == source.parts["text_encoder"].parent
    assert source.is_folder
    assert not source.is_whole_folder


def test_upstreams_folder_is_a_model_with_its_own_parts(tmp_path: Path) -> None:
    home = tmp_path / "models--Wan-AI--Wan2.2-I2V-A14B" / "snapshots" / "0123"
    for half in ("high", "low"):
        write_header(home / f"{half}_noise_model" / "diffusion_pytorch_model.safetensors", transformer(36, 16))
    for name in ("models_t5_umt5-xxl-enc-bf16.pth", "Wan2.1_VAE.pth"):
        (home / name).write_bytes(b"an older form")
    (home / "google" / "umt5-xxl").mkdir(parents=True)
    (home / "google" / "umt5-xxl" / "tokenizer.json").write_text("{}")
    shared(tmp_path)

    source = only(sources(tmp_path).find("i2v-A14B"))

    assert ((), "Wan2.2-I2V-A14B") == (source.faults, source.name)
    assert {home} == {path for part in source.parts.values() for path in (part, *part.parents) if path == home}
    assert all(path.is_relative_to(home) for path in source.parts.values())


def test_of_several_models_the_undistilled_and_the_most_exact_comes_first(tmp_path: Path) -> None:
    for name, dtype in ((FASTWAN, "BF16"), (FIVE_B, "F16"), ("wan2.2_ti2v_5B_fp8_scaled.safetensors", "F8_E4M3")):
        tensors = transformer(48, 48, dtype=dtype)
        write_header(tmp_path / "diffusion_models" / name, scaled(tensors) if dtype == "F8_E4M3" else tensors)
    shared(tmp_path)

    found = sources(tmp_path).find("ti2v-5B")

    assert [FIVE_B, "wan2.2_ti2v_5B_fp8_scaled.safetensors", FASTWAN] == [source.name for source in found]
    assert [False, False, True] == [source.is_distilled for source in found]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [("fastwan", FASTWAN), (f"/x/diffusion_models/{FIVE_B}", FIVE_B), ("Base-Diffusers", "Base-Diffusers")],
)
def test_a_request_chooses_by_name_among_files_and_folders(tmp_path: Path, asked: str, expected: str) -> None:
    for name in (FASTWAN, FIVE_B):
        write_header(tmp_path / "diffusion_models" / name, transformer(48, 48))
    shared(tmp_path)
    wan_folder(tmp_path / "Base-Diffusers", components=ONE_EXPERT, channels=(48, 48), expand_timesteps=True)

    found, warnings = sources(tmp_path).named("ti2v-5B", (asked,))

    assert [] == warnings
    assert expected == only(found).name


def test_the_other_half_of_a_named_expert_is_added_unless_one_alone_is_wanted(tmp_path: Path) -> None:
    pair(tmp_path, FP8)
    shared(tmp_path)

    both, said = sources(tmp_path).named("t2v-A14B", (LOW,))
    alone, warned = sources(tmp_path).named("t2v-A14B", (LOW,), single_expert=True)
    two, nothing = sources(tmp_path).named("t2v-A14B", (LOW, HIGH))

    assert [f"diffusion model {HIGH} was added: it is the other half of {LOW}."] == said
    assert only(both).parts == only(two).parts
    assert [] == nothing
    assert (1, LOW) == (only(alone).experts, only(alone).parts["transformer"].name)
    assert ["single_expert: " + LOW + " renders all steps alone, which is not how Wan 2.2 was trained."] == warned


def test_one_expert_without_its_sibling_renders_alone_or_not_at_all(tmp_path: Path) -> None:
    write_header(tmp_path / "diffusion_models" / LOW, FP8)
    shared(tmp_path)

    (alone,), _ = sources(tmp_path).named("t2v-A14B", (LOW,), single_expert=True)

    assert (1, LOW) == (alone.experts, alone.name)
    with pytest.raises(ModelNotFound, match=rf"Model '{HIGH}' not found"):
        sources(tmp_path).named("t2v-A14B", (LOW,))


def test_one_expert_of_a_folder_renders_alone_too(tmp_path: Path) -> None:
    wan_folder(tmp_path / "a")

    (alone,), _ = sources(tmp_path).named("t2v-A14B", ("a",), single_expert=True)

    assert ((), 1, False) == (alone.faults, alone.experts, alone.is_folder)
    assert not {"transformer_2"} & {*alone.parts, *alone.sizes_bytes}


def test_two_models_of_one_half_are_no_pair(tmp_path: Path) -> None:
    pair(tmp_path, FP8)
    pair(tmp_path, FP8, high="other_high_noise.safetensors", low="other_low_noise.safetensors")
    shared(tmp_path)

    with pytest.raises(InvalidRequest, match=r"one low-noise model; got wan2\.2_t2v_high.*, other_high"):
        sources(tmp_path).named("t2v-A14B", (HIGH, "other_high_noise"))
    (mixed,), _ = sources(tmp_path).named("t2v-A14B", ("other_low_noise", HIGH))
    assert (HIGH, "other_low_noise.safetensors") == (
        mixed.parts["transformer"].name,
        mixed.parts["transformer_2"].name,
    )


def test_a_vae_is_chosen_by_name(tmp_path: Path) -> None:
    pair(tmp_path, FP8)
    shared(tmp_path)
    write_header(tmp_path / "vae" / "mine.safetensors", vae(16))

    (source,), _ = sources(tmp_path).named("t2v-A14B", vae="mine")

    assert "mine.safetensors" == source.parts["vae"].name
    with pytest.raises(ModelNotFound, match=r"Model 'yours' not found in"):
        sources(tmp_path).named("t2v-A14B", vae="yours")


@pytest.mark.parametrize(
    ("name", "tensors", "message"),
    [
        ("wan2.2_t2v_nvfp4_high_noise.safetensors",
         scaled(transformer(dtype="F8_E4M3"), old=False, config={"format": "nvfp4"}), "is stored as 'nvfp4'"),
        ("wan2.2_t2v_Q8_0_high_noise.gguf", {}, "GGUF is not read by this engine"),
        ("vace_t2v_high_noise.safetensors", transformer() | {"vace_blocks.0.after_proj.weight": ("F16", (1,))},
         "this is VACE, which this engine does not render"),
        ("wan2.1_i2v.safetensors", transformer(36, 16) | {"img_emb.proj.0.weight": ("F16", (1,))},
         "this is Wan 2.1 image to video"),
        ("wan_t2v_14B.safetensors", transformer(), "neither high nor low noise is in its name"),
        ("fun_t2v_high_noise.safetensors", transformer(52, 16), "52 channels in and 16 out belong to no task"),
        ("gap_t2v_high_noise.safetensors",
         {key: entry for key, entry in transformer(blocks=3).items() if not key.startswith("blocks.1.")},
         "block 1 is missing"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_loaded_says_why_when_it_is_named_and_when_nothing_else_is_there(
    tmp_path: Path, name: str, tensors: Described, message: str
) -> None:
    write_header(tmp_path / "diffusion_models" / name, tensors)
    shared(tmp_path)
    task = "i2v-A14B" if "i2v" in name else "t2v-A14B"

    with pytest.raises(ModelNotFound, match=rf"Model '.*' cannot be loaded: .*{message}"):
        sources(tmp_path).named(task, (name,))
    assert any(message in flaw for flaw in sources(tmp_path).flaws(task))
    assert [] == sources(tmp_path).find(task)


def test_a_model_of_another_task_is_told_apart_from_none(tmp_path: Path) -> None:
    pair(tmp_path, FP8)

    with pytest.raises(ModelNotFound, match="not found in") as caught:
        sources(tmp_path).named("i2v-A14B", (HIGH,))

    assert f"{HIGH} is a model for t2v-A14B, not for i2v-A14B." in str(caught.value.hint)


def test_the_nearest_name_is_named_first(tmp_path: Path) -> None:
    pair(tmp_path, FP8)

    with pytest.raises(ModelNotFound) as caught:
        sources(tmp_path).named("t2v-A14B", (LOW.replace("low", "lwo"),))

    assert f"Nearest: {LOW}, {HIGH}." in str(caught.value.hint)


def test_a_file_that_changes_is_read_anew(tmp_path: Path) -> None:
    pair(tmp_path, FP8)
    shared(tmp_path)
    known = sources(tmp_path)
    before = only(known.find("t2v-A14B"))

    pair(tmp_path, transformer(blocks=3))

    assert ("fp8_scaled", "bf16") == (before.form, only(known.find("t2v-A14B")).form)
