"""A folder of weights as a function from a case to its clip; the weights are random, so that they load at once."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy
import pytest
import torch
from diffusers import WanPipeline, WanTransformer3DModel
from safetensors.torch import save_file

from train_mini.evaluation_cases import Case, Plan, case_of
from train_mini.evaluation_pipelines import Rendering, _load_pair, kinds_of, opened

PLAN = Plan(steps=2, guidance=2.0, side=32, frames=5, max_text_tokens=48)
CLIP = (5, 32, 32, 3)
FILE = "mini_4steps_{}_noise.safetensors"


@pytest.fixture(scope="module")
def ti2v(exported: Path) -> Rendering:
    return opened(exported / "ti2v", PLAN)


@pytest.fixture(scope="module")
def t2v(exported: Path) -> Rendering:
    return opened(exported / "t2v", PLAN)


def reseeded(case: Case) -> Case:
    return dataclasses.replace(case, seed=case.seed + 1)


@pytest.mark.parametrize(
    ("name", "kinds"),
    [("ti2v", ("single", "pair", "picture")), ("t2v", ("single", "pair")), ("i2v", ("picture",))],
)
def test_a_folder_is_asked_what_its_weights_can_do(exported: Path, name: str, kinds: tuple[str, ...]) -> None:
    assert kinds == kinds_of(exported / name)


@pytest.mark.parametrize("kind", ["single", "picture"])
def test_one_network_renders_text_and_pictures_alike_for_the_same_seed(ti2v: Rendering, kind: str) -> None:
    case = case_of(PLAN, kind, 0)
    pixels, again, other = ti2v(case), ti2v(case), ti2v(reseeded(case))

    assert (CLIP, numpy.uint8) == (pixels.shape, pixels.dtype)
    assert pixels.tobytes() == again.tobytes() != other.tobytes()


def test_one_network_sees_the_picture(ti2v: Rendering) -> None:
    case = case_of(PLAN, "picture", 0)
    assert case.image is not None
    other = dataclasses.replace(case, image=255 - case.image)

    assert ti2v(case).tobytes() != ti2v(other).tobytes()


def test_two_experts_render_text(t2v: Rendering) -> None:
    case = case_of(PLAN, "pair", 0)
    pixels = t2v(case)

    assert (CLIP, numpy.uint8) == (pixels.shape, pixels.dtype)
    assert pixels.tobytes() == t2v(case).tobytes()
    assert pixels.tobytes() != t2v(dataclasses.replace(case, prompt="")).tobytes()


def test_two_experts_render_pictures(exported: Path) -> None:
    render = opened(exported / "i2v", PLAN)
    case = case_of(PLAN, "picture", 1)
    pixels = render(case)

    assert (CLIP, numpy.uint8) == (pixels.shape, pixels.dtype)
    assert pixels.tobytes() == render(case).tobytes()


def test_shift_and_loras_of_a_plan_change_the_clip(exported: Path, t2v: Rendering) -> None:
    case = case_of(PLAN, "single", 0)
    plain = t2v(case).tobytes()
    shifted = opened(exported / "t2v", dataclasses.replace(PLAN, shift=9.0))(case).tobytes()
    paired = opened(exported / "t2v", dataclasses.replace(PLAN, loras=exported / "loras"))(case).tobytes()

    assert 3 == len({plain, shifted, paired})


def test_a_folder_without_a_pipeline_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="model_index"):
        opened(tmp_path, PLAN)


@pytest.fixture
def pipe(work: Path) -> WanPipeline:
    """Return the least that LoRAs load into."""
    experts = (WanTransformer3DModel.from_pretrained(work / name) for name in ("high", "low"))
    return WanPipeline(None, None, None, None, *experts, boundary_ratio=0.875)


def test_loras_that_are_not_there_are_missed(pipe: WanPipeline, exported: Path, tmp_path: Path) -> None:
    shutil.copy(exported / "loras" / FILE.format("high"), tmp_path)

    with pytest.raises(FileNotFoundError, match=r"has 0 files \*low_noise"):
        _load_pair(pipe, tmp_path)


def test_two_loras_for_one_half_are_one_too_many(pipe: WanPipeline, exported: Path, tmp_path: Path) -> None:
    for name in ("a_high_noise.safetensors", "b_high_noise.safetensors"):
        shutil.copy(exported / "loras" / FILE.format("high"), tmp_path / name)

    with pytest.raises(FileNotFoundError, match=r"has 2 files \*high_noise"):
        _load_pair(pipe, tmp_path)


MISFITS = {
    "of more layers": ("diffusion_model.blocks.9.self_attn.q.lora_{}.weight", "arget modules"),
    "of another network": ("unet.blocks.0.self_attn.q.lora_{}.weight", "holds no weights for transformer"),
    "no LoRA": ("blocks.0.self_attn.q.{}.weight", "Invalid LoRA checkpoint"),
}


@pytest.mark.parametrize("misfit", MISFITS)
def test_loras_that_do_not_fit_are_refused(pipe: WanPipeline, tmp_path: Path, misfit: str) -> None:
    name, said = MISFITS[misfit]
    weights = {name.format("A"): torch.ones(8, 160), name.format("B"): torch.ones(160, 8)}
    for half in ("high", "low"):
        save_file(weights, tmp_path / FILE.format(half))

    with pytest.raises(ValueError, match=said):
        _load_pair(pipe, tmp_path)


def test_loras_of_another_width_are_refused(work: Path, tmp_path: Path) -> None:
    experts = (WanTransformer3DModel.from_pretrained(work / each) for each in ("high", "low"))
    key = "diffusion_model.blocks.0.self_attn.q"
    weights = {
        f"{key}.lora_down.weight": torch.ones(8, 320), f"{key}.lora_up.weight": torch.ones(320, 8),
        f"{key}.alpha": torch.tensor(8.0),
    }  # fmt: skip
    for half in ("high", "low"):
        save_file(weights, tmp_path / FILE.format(half))

    with pytest.raises(ValueError, match="does not fit transformer"):
        _load_pair(WanPipeline(None, None, None, None, *experts, boundary_ratio=0.875), tmp_path)


def test_loras_for_two_experts_do_not_fit_one_network(work: Path, exported: Path) -> None:
    pipe = WanPipeline(None, None, None, None, WanTransformer3DModel.from_pretrained(work / "ti2v"))

    with pytest.raises(ValueError, match="transformer_2, which these weights do not have"):
        _load_pair(pipe, exported / "loras")
