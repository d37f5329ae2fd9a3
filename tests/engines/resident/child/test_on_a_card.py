"""Whole jobs on a card that computes on the CPU: no tensor is in the wrong place, wherever the parts wait."""

from __future__ import annotations

import dataclasses
import gc
import shutil
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from fakes import tiny_wan
from fakes.card import CARD, Card, ToCard
from fakes.weight_files import folder_tensors, stored, upstream_transformer
from wanworker.engines.resident.child._job import render
from wanworker.engines.resident.child._loading import Loaded, _paths_of_folder, _pipeline, _wiring_of_folder
from wanworker.engines.resident.child.weights._fp8 import Fp8Linear
from wanworker.engines.resident.child.weights.parts import Kept, Place, load_parts
from wanworker.engines.resident.protocol import Adapter, Model, Placement, Render

CASES = ("t2v", "i2v", "ti2v", "distilled")
RESIDENT = Placement("cuda")
SLOT = Placement("cuda", experts="slot", text_encoder="evicted")
EVICTED = Placement("cuda", experts="evicted", text_encoder="evicted", vae="evicted")
TEXT_ON_CPU = Placement("cuda", experts="evicted", text_encoder="cpu", vae="evicted")
FAST = Placement("cuda", "fast", experts="slot", vae_dtype="bfloat16", decode="tiled", vae="evicted")


class Quiet:
    """Hooks of a job that nobody follows."""

    def stage(self, name: str) -> None:
        """Say nothing."""

    def step(self, stage: str, step: int, steps: int) -> None:
        """Say nothing."""

    def must_stop(self) -> bool:
        """Go on."""
        return False


class OnCardLoaded(Loaded):
    """A model whose card torch cannot ask what is free there."""

    def free(self) -> int:
        """Give back what a failed job left behind."""
        for vae in self._vaes.values():
            vae.clear_cache()
        self.residence.withdraw()
        return 0


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("models")
    tiny_wan.write(folder)
    Image.new("RGB", (80, 60), (200, 30, 30)).save(folder / "red.png")
    return folder


def loaded(
    folder: Path, placement: Placement, *, on_card: bool = True, compute: torch.dtype = torch.float32, **files: Path
) -> Loaded:
    """Load as on a machine with a card, but for the locked pages; *files* take the place of the folder's parts."""
    paths = _paths_of_folder(folder) | {name: str(path) for name, path in files.items()}
    waiting = frozenset(name for name in paths if placement.rule_of(name) != "resident")
    place = Place(CARD if on_card else torch.device("cpu"), compute, waiting)
    wanted_paths = {name: path for name, path in paths.items() if name != "scheduler"}
    parts: dict[str, Any] = load_parts(wanted_paths, place, Kept(), lambda _done, _size: None)
    model = Model(str(folder), str(CARD) if on_card else "cpu", placement=placement)  # type: ignore[arg-type]
    return OnCardLoaded(_pipeline(parts, paths, _wiring_of_folder(folder)), model, copier=ToCard())


def in_float8(models: Path) -> dict[str, Path]:
    """Write both experts as ComfyUI's fp8_scaled files, and return them by diffusers' names."""
    found = {}
    for name in ("transformer", "transformer_2"):
        own = models / "t2v" / name
        tensors, metadata = stored(upstream_transformer(folder_tensors(own)), "old")
        found[name] = models / f"{name}.safetensors"
        save_file(tensors, found[name], metadata=metadata)
        shutil.copy(own / "config.json", found[name].with_suffix(".json"))
    return found


def wanted(models: Path, case: str) -> Render:
    """Return a job that takes a way of its own through the pipelines."""
    picture, loras = str(models / "red.png"), models / "loras"
    four = {"solver": "euler", "noise": (1.0, 0.9375, 0.8333, 0.625), "steps": 4, "boundary": 0.875}
    pair = tuple(Adapter(str(loras / f"style_{half}_noise.safetensors"), half, 1.0) for half in ("high", "low"))  # type: ignore[arg-type]
    ways: dict[str, dict[str, Any]] = {
        "t2v": {"guidance": 1.0, "guidance_low": 1.0, "adapters": pair, **four},
        "i2v": {"image": picture, "last_image": picture},
        "ti2v": {"image": picture},
        "distilled": {"solver": "dmd", "noise": (1.0, 0.757, 0.522), "guidance": 1.0, "guidance_low": 1.0},
    }
    plain = {"guidance": 3.0, "guidance_low": 3.0, "steps": 3, "solver": "unipc", "shift": 5.0}
    return Render(
        job=1, prompt="a cat", negative_prompt="ugly", width=64, height=64, frames=9, out_width=64, out_height=64,
        out_frames=9, fps=16, seed=1, out_path=str(models / f"{case}.mp4"), **{**plain, **ways[case]},
    )  # fmt: skip


def clip(model: Loaded, job: Render, placement: Placement, fallback: Placement | None = None) -> tuple[bytes, Any]:
    done = render(model, dataclasses.replace(job, placement=placement, fallback=fallback), Quiet())
    return Path(job.out_path).read_bytes(), done.placement


def test_the_card_does_not_take_what_is_in_main_memory() -> None:
    with Card(size_bytes=100) as card:
        there = torch.ones(4, device=CARD)
        total = (there + 1.5).sum().item()
        with pytest.raises(RuntimeError, match="same device"):
            there + torch.ones(4)
        with pytest.raises(torch.OutOfMemoryError):
            torch.ones(1000).to(CARD)
        there = there + torch.tensor(1.0)

    assert (10.0, [2.0] * 4) == (total, there.held.tolist())
    assert 16 == card.live_bytes < card.peak_bytes <= 100


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_job_gives_the_same_wherever_its_parts_wait(models: Path, case: str) -> None:
    job = wanted(models, case)
    on_cpu = clip(loaded(models / case, Placement(), on_card=False), job, Placement())[0]
    with Card() as card:
        model = loaded(models / case, SLOT)
        clips = {placement: clip(model, job, placement)[0] for placement in (SLOT, EVICTED, TEXT_ON_CPU, RESIDENT)}

    assert card.peak_bytes > 0
    assert {on_cpu} == set(clips.values()), [way for way, made in clips.items() if made != on_cpu]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_job_in_half_precision_gives_the_same_in_slot_and_evicted_and_fast_runs(models: Path, case: str) -> None:
    job = wanted(models, case)
    with Card():
        model = loaded(models / case, EVICTED, compute=torch.bfloat16)
        fast, slot, evicted, resident = (clip(model, job, place)[0] for place in (FAST, SLOT, EVICTED, RESIDENT))

    assert resident == slot == evicted
    assert fast != slot


def test_float8_experts_take_turns_with_their_loras_and_leave_as_they_came(models: Path) -> None:
    job, files = wanted(models, "t2v"), in_float8(models)
    on_cpu = clip(loaded(models / "t2v", Placement(), on_card=False, **files), job, Placement())[0]
    with Card():
        model = loaded(models / "t2v", SLOT, **files)
        clips = [clip(model, job, placement)[0] for placement in (SLOT, EVICTED, RESIDENT, SLOT)]
        resident = clip(loaded(models / "t2v", RESIDENT, **files), job, RESIDENT)[0]

    assert isinstance(model.pipeline(with_image=False).transformer.blocks[0].ffn.net[2], Fp8Linear)
    assert {on_cpu} == {*clips, resident}


@pytest.mark.slow
def test_a_model_that_is_let_go_leaves_its_room_before_the_next_is_read(models: Path) -> None:
    job = wanted(models, "t2v")
    with Card() as card:
        model = loaded(models / "t2v", SLOT)
        clip(model, job, SLOT)
        expert = model.pipeline(with_image=False).transformer
        block, vae = weakref.ref(expert.slab), model.vae
        del expert
        model.let_go()
        del model
        gc.collect()
        shared_bytes = sum(tensor.numel() * 4 for tensor in (*vae.parameters(), *vae.buffers()))

    assert block() is None
    assert 0 < shared_bytes <= card.live_bytes < 1.1 * shared_bytes


@pytest.mark.slow
def test_a_job_that_does_not_fit_is_made_in_the_fallback_on_the_same_card(models: Path) -> None:
    job = wanted(models, "t2v")
    with Card() as card:
        whole = clip(loaded(models / "t2v", RESIDENT), job, RESIDENT)[0]
        most = card.peak_bytes
    with Card() as card:
        clip(loaded(models / "t2v", EVICTED), job, EVICTED)
        least = card.peak_bytes
    with Card((least + most) // 2):
        model = loaded(models / "t2v", EVICTED)
        made, placement = clip(model, job, RESIDENT, EVICTED)
        again, _ = clip(model, job, EVICTED)
        with pytest.raises(torch.OutOfMemoryError):
            clip(model, job, RESIDENT)

    assert least < most
    assert EVICTED == placement
    assert whole == made == again
