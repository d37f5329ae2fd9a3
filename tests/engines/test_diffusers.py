"""The resident engine on tiny random-weight folders of the released models' classes and wiring, on the CPU."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from PIL import Image

from fakes import headers, tiny_wan
from fakes.clips import read_frames
from wanworker.engines.base import Rendered
from wanworker.engines.diffusers import CAPABILITIES, DiffusersEngine, request_for
from wanworker.engines.resident.parent.start import resident
from wanworker.engines.resident.parent.supervisor import Supervisor
from wanworker.engines.resident.protocol import Model, Render
from wanworker.errors import InvalidRequest, ModelNotFound
from wanworker.models.machine.hardware import Gpu
from wanworker.models.sources.discover import Sources
from wanworker.progress import Progress
from wanworker.recipes.sampling import sampling_for
from wanworker.recipes.table import STEP_LORAS
from wanworker.settings import Settings, child_environment
from wanworker.spec import TASKS, Lora, RenderSpec, Size

pytestmark = pytest.mark.asyncio(loop_scope="module")

FAKES = Path(__file__).parent.parent / "fakes"
ENVIRONMENT = {**child_environment(), "OMP_NUM_THREADS": "1"}
A_SPEC = RenderSpec(
    task="t2v-A14B", prompt="a cube", size=Size(64, 64), size_given=True, fps=16, fps_given=False, seed=1, frames=5,
    steps=2,
)  # fmt: skip

Go = Callable[..., Any]


def no_report(_progress: Progress) -> None:
    """Take progress and do nothing with it."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny_wan.write(folder)
    return folder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(models: Path) -> AsyncIterator[DiffusersEngine]:
    made = DiffusersEngine(Settings(ckpt_dir=models), gpus=lambda: (), supervisor=resident(ENVIRONMENT))
    yield made
    await made.close()


@pytest.fixture
def go(engine: DiffusersEngine, tmp_path: Path) -> Go:
    """Return a function that renders A_SPEC with changes and gives the file's bytes and what the engine said."""

    async def render(**changes: Any) -> tuple[bytes, Rendered]:
        out_path = tmp_path / "out.mp4"
        spec = dataclasses.replace(A_SPEC, **changes)
        rendered = await engine.render(spec, out_path, work_dir=tmp_path, report=no_report)
        return out_path.read_bytes(), rendered

    return render


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.new("RGB", (90, 60), (200, 30, 30)).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


async def test_two_experts_render_text(go: Go, tmp_path: Path) -> None:
    first, rendered = await go()
    second, _ = await go()

    assert (5, 64, 64, 3) == read_frames(tmp_path / "out.mp4").shape
    assert first == second
    assert "t2v" == rendered.model
    assert {"load_s", "wait_s", "text_s", "denoise_s", "decode_s", "encode_s"} == set(rendered.timings)


async def test_a_seed_of_64_bits_works_and_gives_another_clip(go: Go) -> None:
    assert (await go())[0] != (await go(seed=2**64 - 1))[0]


async def test_each_experts_guidance_the_negative_prompt_the_shift_and_the_solver_count(go: Go) -> None:
    changes: tuple[dict[str, Any], ...] = (
        {}, {"guidance": 2.0}, {"guidance_low": 9.0}, {"negative_prompt": "dull"}, {"shift": 2.0}, {"solver": "dpm++"},
    )  # fmt: skip
    files = [(await go(steps=4, **change))[0] for change in changes]

    assert len(changes) == len(set(files))


async def test_a_lora_changes_the_clip_and_the_next_job_does_not_see_it(go: Go) -> None:
    without, _ = await go()
    with_pair, rendered = await go(loras=(Lora("style", None),))
    stronger, _ = await go(loras=(Lora("style", None, 2.0, 2.0),))
    other, _ = await go(loras=(Lora("plain", None),))
    again_without, _ = await go()
    again_with, _ = await go(loras=(Lora("style", None),))

    assert 4 == len({without, with_pair, stronger, other})
    assert without == again_without
    assert with_pair == again_with
    assert "LoRA style_low_noise.safetensors was added: it is the other half of style_high_noise.safetensors." in (
        rendered.warnings
    )


async def test_a_few_step_pair_is_sampled_alike_named_or_implied_and_another_lora_changes_no_number(
    go: Go, models: Path
) -> None:
    pair = STEP_LORAS["t2v-A14B"]
    for style, name in (("style_high_noise", pair.high), ("style_low_noise", pair.low)):
        shutil.copy(models / "loras" / f"{style}.safetensors", models / "loras" / str(name))
    implied, rendered = await go(steps=None, use_lora=True)
    named, said = await go(steps=None, loras=(Lora("t2v_lightx2v_4steps", None),))
    by_hand, fights = await go(steps=3, loras=(pair,))
    plain, quiet = await go(steps=3, loras=(Lora("style", None),))

    told = "set for the distilled model or LoRA: sample_steps to 4, sample_guide_scale to 1, sample_shift to 5."
    assert implied == named
    assert told in rendered.warnings
    assert told in said.warnings
    assert any("was made for sample_steps 4 (not 3)" in line for line in fights.warnings)
    assert not any("set for" in line or "made for" in line for line in quiet.warnings)
    assert 3 == len({implied, by_hand, plain})


async def test_each_half_of_a_pair_reaches_its_own_expert(go: Go) -> None:
    none, _ = await go(steps=4)
    pair = Lora("style_high_noise", "style_low_noise", 1.0, 0.0)
    high_only, _ = await go(steps=4, loras=(pair,))
    low_only, _ = await go(steps=4, loras=(dataclasses.replace(pair, high_strength=0.0, low_strength=1.0),))

    assert 3 == len({none, high_only, low_only})


async def test_a_lora_for_another_model_is_refused_and_leaves_no_trace(go: Go) -> None:
    without, _ = await go()
    with pytest.raises(InvalidRequest, match=r"LoRA foreign\.safetensors does not fit this model"):
        await go(loras=(Lora("plain", None), Lora("foreign", None)))

    assert without == (await go())[0]


async def test_a_lora_that_is_not_there_is_named_with_the_nearest(go: Go) -> None:
    with pytest.raises(ModelNotFound, match=r"'stile_high' was not found\. Nearest: style_high_noise.*Searched: /"):
        await go(loras=(Lora("stile_high", None),))


async def test_a_preload_has_the_weights_that_a_job_of_the_task_would_load(models: Path) -> None:
    supervisor = Supervisor((sys.executable, str(FAKES / "resident_child.py"), "well"), ENVIRONMENT)
    preloaded = DiffusersEngine(Settings(ckpt_dir=models), gpus=lambda: (), supervisor=supervisor)
    try:
        await preloaded.preload("t2v-A14B")
        (source,) = Sources((models,), lambda _kind: ()).find("t2v-A14B")
        is_warm = supervisor.is_warm(Model(str(models / "t2v"), "cpu", stamp=source.stamp()))
    finally:
        await preloaded.close()

    assert is_warm


async def test_a_preload_without_weights_or_a_task_is_refused(tmp_path: Path) -> None:
    empty = DiffusersEngine(Settings(ckpt_dir=tmp_path), gpus=lambda: ())

    with pytest.raises(ModelNotFound, match=r"No whole Wan2\.2-T2V-A14B"):
        await empty.preload("t2v-A14B")
    with pytest.raises(InvalidRequest, match="name one"):
        await empty.preload(None)


async def test_two_experts_render_a_picture_and_a_last_one(go: Go, picture: Path, tmp_path: Path) -> None:
    first_only, rendered = await go(task="i2v-A14B", image=picture)
    with_last, _ = await go(task="i2v-A14B", image=picture, last_image=picture)

    assert "i2v" == rendered.model
    assert (5, 64, 64, 3) == read_frames(tmp_path / "out.mp4").shape
    assert first_only != with_last


async def test_a_picture_that_cannot_be_read_is_the_callers_to_fix(go: Go, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n")

    with pytest.raises(Exception, match=r"The image broken\.png cannot be read"):
        await go(task="i2v-A14B", image=broken)


async def test_the_small_model_renders_text_and_a_picture_in_turn(go: Go, picture: Path) -> None:
    text, _ = await go(task="ti2v-5B")
    image, _ = await go(task="ti2v-5B", image=picture)
    text_again, rendered = await go(task="ti2v-5B")

    assert text == text_again
    assert text != image
    assert "ti2v" == rendered.model


async def test_a_lora_for_the_small_model_goes_to_its_one_expert(go: Go) -> None:
    assert (await go(task="ti2v-5B"))[0] != (await go(task="ti2v-5B", loras=(Lora("plain", None),)))[0]


async def test_a_distilled_model_takes_its_own_steps_unless_the_request_names_others(
    models: Path, tmp_path: Path
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "fast").symlink_to(models / "distilled")
    settings = Settings(ckpt_dir=tmp_path / "models")
    engine = DiffusersEngine(settings, gpus=lambda: (), supervisor=resident(ENVIRONMENT))
    files: list[bytes] = []
    taken: list[set[int]] = []
    try:
        for steps in (None, None, 2):
            seen: list[Progress] = []
            spec = dataclasses.replace(A_SPEC, task="ti2v-5B", steps=steps, use_lora=True)
            rendered = await engine.render(spec, tmp_path / "a.mp4", work_dir=tmp_path, report=seen.append)
            files.append((tmp_path / "a.mp4").read_bytes())
            taken.append({each.steps for each in seen if each.stage == "sampling" and each.steps})
    finally:
        await engine.close()

    assert [{3}, {3}, {2}] == taken
    assert files[0] == files[1] != files[2]
    assert "FastWAN was made for sample_steps 3 (not 2); the request's numbers were used." in rendered.warnings
    assert "use_lora was ignored: fast is a few-step model already." in rendered.warnings


async def test_fast_decodes_in_bfloat16_and_exact_is_as_before(go: Go) -> None:
    exact, said = await go()
    fast, told = await go(profile="fast")
    exact_again, _ = await go(profile="exact")

    assert exact == exact_again
    assert exact != fast
    assert said.placement is not None
    assert told.placement is not None
    assert ("cpu", "exact", "float32") == tuple(said.placement[key] for key in ("device", "profile", "vae_dtype"))
    assert ("cpu", "fast", "bfloat16") == tuple(told.placement[key] for key in ("device", "profile", "vae_dtype"))


async def test_the_setting_is_for_jobs_that_name_no_profile(models: Path) -> None:
    engine = DiffusersEngine(Settings(ckpt_dir=models, profile="fast"), gpus=lambda: ())

    plan = engine.readiness("t2v-A14B").plan

    assert plan is not None
    assert "fast" == plan["profile"]


def with_large_experts(folder: Path, models: Path) -> Path:
    """Return a models folder whose experts have a third block of 5 GiB each, which takes no room on the disk."""
    shutil.copytree(models / "t2v", folder / "t2v")
    size = 5 * 2**30
    for name in ("transformer", "transformer_2"):
        path = folder / "t2v" / name / "diffusion_pytorch_model.safetensors"
        data = path.read_bytes()
        start = 8 + int.from_bytes(data[:8], "little")
        end = len(data) - start
        block = {"dtype": "BF16", "shape": [2**20, size // 2**21], "data_offsets": [end, end + size]}
        header = json.dumps({**json.loads(data[8:start]), "blocks.2.ffn.net.2.weight": block}).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header + data[start:])
        os.truncate(path, 8 + len(header) + end + size)
    return folder


async def test_a_placement_that_ran_out_of_memory_is_told_and_not_tried_again(models: Path, tmp_path: Path) -> None:
    supervisor = Supervisor((sys.executable, str(FAKES / "resident_child.py"), "well"), ENVIRONMENT)
    card = (Gpu("a card", 24 * 1024, "9.0", "580"),)
    engine = DiffusersEngine(
        Settings(ckpt_dir=with_large_experts(tmp_path / "models", models)), gpus=lambda: card,
        available_memory_mib=lambda: 90_000, free_gpu_memory_mib=lambda: 24_000, supervisor=supervisor,
    )  # fmt: skip
    spec = dataclasses.replace(A_SPEC, prompt="fall back")
    try:
        first = await engine.render(spec, tmp_path / "a.mp4", work_dir=tmp_path, report=no_report)
        second = await engine.render(
            dataclasses.replace(spec, prompt="succeed"), tmp_path / "b.mp4", work_dir=tmp_path, report=no_report
        )
    finally:
        await engine.close()

    assert first.placement is not None
    assert "slot" == first.placement["experts"]
    assert first.placement == second.placement
    assert any(line.startswith("The GPU's memory ran out; rendered with less of it") for line in first.warnings)
    assert not any("ran out" in line for line in second.warnings)


async def test_readiness_tells_weights_from_hardware(models: Path, tmp_path: Path) -> None:
    card = (Gpu("a card", 24 * 1024, "9.0", "580"),)
    with_gpu = DiffusersEngine(Settings(ckpt_dir=models), gpus=lambda: card, available_memory_mib=lambda: 90_000)
    without_gpu = DiffusersEngine(Settings(ckpt_dir=models), gpus=lambda: ())
    empty = DiffusersEngine(Settings(ckpt_dir=tmp_path), gpus=lambda: card)

    assert all(with_gpu.readiness(task).is_ready for task in CAPABILITIES.tasks)
    assert ("no NVIDIA GPU",) == without_gpu.readiness("t2v-A14B").lacking
    assert ("no weights of Wan2.2-T2V-A14B (a folder of diffusers or upstream, or ComfyUI's files)",) == (
        empty.readiness("t2v-A14B").missing
    )
    assert str(tmp_path) in empty.readiness("t2v-A14B").searched
    assert not with_gpu.readiness("s2v-14B").has_weights


async def test_the_size_the_frames_and_the_model_of_a_request_count_for_its_readiness(
    models: Path, tmp_path: Path
) -> None:
    engine = DiffusersEngine(
        Settings(ckpt_dir=models), gpus=lambda: (Gpu("a card", 16 * 1024, "9.0", "580"),),
        available_memory_mib=lambda: 90_000,
    )  # fmt: skip
    large = dataclasses.replace(A_SPEC, size=Size(1280, 720), frames=81)

    assert engine.readiness_for(A_SPEC).is_ready
    assert "are needed for 1280*720 with 81 frames" in engine.readiness_for(large).lacking[0]
    assert engine.readiness_for(dataclasses.replace(large, frames=5, profile="fast")).is_ready
    assert engine.readiness_for(dataclasses.replace(A_SPEC, diffusion_models=("t2v",))).is_ready
    assert engine.readiness_for(dataclasses.replace(A_SPEC, diffusion_models=("nowhere",))).is_ready


async def test_float8_with_a_scale_for_each_row_is_not_said_to_be_multiplied_in_float8(tmp_path: Path) -> None:
    def plan_of(folder: Path, numbers: int) -> Any:
        tensors = headers.scaled(headers.transformer(dtype="F8_E4M3"))
        for name, (_, shape, *_) in list(tensors.items()):
            if name.endswith(".weight") and numbers > 1 and name.replace("weight", "scale_weight") in tensors:
                tensors[name.replace("weight", "scale_weight")] = ("F32", (shape[0],))
        for half in ("high", "low"):
            headers.write_header(folder / "diffusion_models" / f"wan_t2v_{half}_noise.safetensors", tensors)
        headers.write_header(folder / "vae" / "vae.safetensors", headers.vae())
        headers.write_header(folder / "text_encoders" / "umt5.safetensors", headers.text_encoder())
        card = (Gpu("a card", 80 * 1024, "9.0", "580"),)
        engine = DiffusersEngine(Settings(ckpt_dir=folder, profile="fast"), gpus=lambda: card)
        return engine.readiness("t2v-A14B").plan

    assert "scaled_mm" == plan_of(tmp_path / "tensor", 1)["matmul"]
    assert "plain" == plan_of(tmp_path / "row", 2)["matmul"]


async def test_rendering_without_weights_names_the_folder(tmp_path: Path) -> None:
    engine = DiffusersEngine(Settings(ckpt_dir=tmp_path), gpus=lambda: ())

    with pytest.raises(ModelNotFound, match=r"No whole Wan2\.2-T2V-A14B for the diffusers engine below"):
        await engine.render(A_SPEC, tmp_path / "out.mp4", work_dir=tmp_path, report=no_report)


def request(warnings: list[str], **changes: Any) -> Render:
    spec = dataclasses.replace(A_SPEC, steps=None, frames=None, **changes)
    return request_for(spec, sampling_for(spec, None, warnings), Path("out.mp4"), (), warnings)


@pytest.mark.parametrize("task", sorted(CAPABILITIES.tasks))
async def test_what_is_left_out_is_upstreams_default(task: str) -> None:
    warnings: list[str] = []

    made = request(warnings, task=task, size=TASKS[task].size)

    low, high = TASKS[task].guidance
    assert (TASKS[task].steps, TASKS[task].shift, TASKS[task].frames) == (made.steps, made.shift, made.frames)
    assert (high, low) == (made.guidance, made.guidance_low)
    assert "low quality" in made.negative_prompt
    assert [] == warnings


async def test_one_guidance_scale_is_for_both_experts_and_an_empty_negative_prompt_stays_empty() -> None:
    made = request([], guidance=6.0, negative_prompt="")

    assert (6.0, 6.0, "") == (made.guidance, made.guidance_low, made.negative_prompt)


async def test_what_has_no_effect_without_guidance_is_said() -> None:
    warnings: list[str] = []

    request(warnings, guidance=1.0, guidance_low=3.0, negative_prompt="dull")

    assert 2 == len(warnings)
    assert warnings[0].startswith("negative_prompt has no effect")
    assert warnings[1].startswith("guidance_scale_2 has no effect")
