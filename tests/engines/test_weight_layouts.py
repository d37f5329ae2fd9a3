"""The miniature's weights in every layout that people have, in one models folder, rendered by the diffusers engine."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from fakes.clips import read_frames
from fakes.weight_files import write_layouts
from train_mini.checkers import read_clip
from wanworker.engines.diffusers import DiffusersEngine, request_for
from wanworker.engines.resident.parent.start import resident
from wanworker.engines.resident.parent.supervisor import Supervisor
from wanworker.engines.resident.protocol import Model, Part, Render
from wanworker.errors import ModelNotFound
from wanworker.models.miniature.weights import miniature
from wanworker.models.sources.checkpoint import Stamp
from wanworker.models.sources.discover import Sources
from wanworker.progress import Progress
from wanworker.recipes.sampling import sampling_for
from wanworker.settings import Settings, child_environment
from wanworker.spec import RenderSpec, Size

pytestmark = pytest.mark.asyncio(loop_scope="module")

ENVIRONMENT = {**child_environment(), "OMP_NUM_THREADS": "1"}
FOLDER, UPSTREAM = "Mini-Diffusers", "Wan2.2-T2V-A14B"
FLOAT8 = ("t2v_old_high_noise", "t2v_new_low_noise", "t2v_metadata_high")
EXACT = (FOLDER, UPSTREAM, "t2v_plain_high_noise.safetensors")
A_SPEC = RenderSpec(
    task="t2v-A14B", prompt="a red star", size=Size(64, 64), size_given=True, fps=16, fps_given=False, seed=1, frames=5,
    steps=2, guidance=1.0,
)  # fmt: skip

Go = Callable[..., Awaitable[bytes]]


def stamp_in(models: Path) -> Stamp:
    """Return the stamp of the one model for text in a folder that has only folders of diffusers."""
    return Sources((models,), lambda _kind: ()).find("t2v-A14B")[0].stamp()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    source = miniature().folder_of("t2v-A14B")
    write_layouts(source, folder)
    shutil.copytree(source, folder / FOLDER)
    return folder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def supervisor() -> AsyncIterator[Supervisor]:
    made = resident(ENVIRONMENT)
    yield made
    await made.close()


def engine_on(models: Path, supervisor: Supervisor) -> DiffusersEngine:
    return DiffusersEngine(Settings(ckpt_dir=models, HF_HOME=models), gpus=lambda: (), supervisor=supervisor)


def request_to(out_path: Path) -> Render:
    """Return the request that A_SPEC becomes."""
    return request_for(A_SPEC, sampling_for(A_SPEC, None, []), out_path, (), [])


@pytest.fixture
def go(models: Path, supervisor: Supervisor, tmp_path: Path) -> Go:
    """Return a function that renders A_SPEC with the model that is named and gives the file's bytes."""
    engine = engine_on(models, supervisor)

    async def render(name: str, seen: list[Progress] | None = None) -> bytes:
        out_path = tmp_path / "out.mp4"
        spec = dataclasses.replace(A_SPEC, diffusion_models=(name,))
        report = seen.append if seen is not None else lambda _progress: None
        await engine.render(spec, out_path, work_dir=tmp_path, report=report)
        return out_path.read_bytes()

    return render


async def test_upstreams_folder_and_single_files_give_what_the_folder_of_diffusers_gives(go: Go) -> None:
    assert 1 == len({await go(name) for name in EXACT})


async def test_each_way_of_writing_float8_gives_the_same_and_a_cast_something_else(go: Go) -> None:
    scaled = {await go(name) for name in FLOAT8}

    assert 1 == len(scaled)
    assert 3 == len(scaled | {await go("t2v_cast_high_noise"), await go("t2v_bf16_high_noise")})


async def test_a_load_tells_in_bytes_how_far_it_is(go: Go) -> None:
    seen: list[Progress] = []

    await go(EXACT[2], seen)

    loading = [progress for progress in seen if progress.stage == "loading" and progress.detail]
    assert re.fullmatch(r"(\d\d?\.\d) of \1 MB", loading[-1].detail)
    assert [progress.fraction for progress in seen] == sorted(progress.fraction for progress in seen)


async def test_the_bytes_are_read_when_the_load_has_ended_and_what_is_shared_is_not_read_again(
    models: Path, supervisor: Supervisor, go: Go
) -> None:
    """The system counts what the child reads; what it only mapped would not be counted."""

    def bytes_of(*patterns: str) -> int:
        return sum(path.stat().st_size for pattern in patterns for path in models.glob(pattern))

    def read_bytes() -> int:
        counted = Path(f"/proc/{supervisor.pid}/io").read_text()
        return int(counted.partition("rchar: ")[2].split()[0])

    experts = bytes_of("diffusion_models/t2v_plain_*.safetensors")
    shared = bytes_of("text_encoders/*.safetensors", "vae/*.safetensors")
    await go(FOLDER)
    before = read_bytes()
    await go("t2v_plain_high_noise")
    all_of_it = read_bytes() - before
    await go("t2v_bf16_high_noise")
    second = read_bytes() - before - all_of_it

    assert all_of_it >= experts + shared
    other = bytes_of("diffusion_models/t2v_bf16_*.safetensors")
    assert other <= second < other + shared


async def test_a_loaded_model_needs_its_files_no_more(models: Path, tmp_path: Path, supervisor: Supervisor) -> None:
    """What was only mapped would end the process here, or read other numbers."""
    copied = tmp_path / "models"
    shutil.copytree(models / FOLDER, copied / FOLDER)
    engine = engine_on(copied, supervisor)
    whole = tmp_path / "whole.mp4"
    await engine.render(A_SPEC, whole, work_dir=tmp_path, report=lambda _: None)

    model = Model(str(copied / FOLDER), "cpu", stamp=stamp_in(copied))
    for path in copied.rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:100] + bytes(path.stat().st_size - 100))
    assert supervisor.is_warm(model)
    await supervisor.render(model, request_to(tmp_path / "again.mp4"), lambda _event: None)

    assert whole.read_bytes() == (tmp_path / "again.mp4").read_bytes()


async def test_weights_that_were_replaced_under_their_name_are_loaded_anew(
    models: Path, tmp_path: Path, supervisor: Supervisor
) -> None:
    """A new file has the old one's size and time, as a tool that keeps both would leave it."""
    copied = tmp_path / "models"
    shutil.copytree(models / FOLDER, copied / FOLDER)
    engine = engine_on(copied, supervisor)

    async def rendered() -> bytes:
        await engine.render(A_SPEC, tmp_path / "out.mp4", work_dir=tmp_path, report=lambda _: None)
        return (tmp_path / "out.mp4").read_bytes()

    made = [await rendered()]
    for part in ("text_encoder", "transformer", "vae"):
        for weights in (copied / FOLDER / part).glob("*.safetensors"):
            replace_with_zeros(weights)
        made.append(await rendered())

    assert len(made) == len(set(made))


def replace_with_zeros(weights: Path) -> None:
    facts, numbers = weights.stat(), weights.read_bytes()
    start = 8 + int.from_bytes(numbers[:8], "little")
    other = weights.with_suffix(".new")
    other.write_bytes(numbers[:start] + bytes(len(numbers) - start))
    os.utime(other, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    other.replace(weights)


async def test_a_damaged_file_fails_its_load_by_name_and_the_next_load_works(
    models: Path, tmp_path: Path, supervisor: Supervisor, go: Go
) -> None:
    """The file is damaged after its plan was made: the child finds it."""
    paths = {
        name: models / FOLDER / name for name in ("transformer", "transformer_2", "text_encoder", "vae", "tokenizer")
    }
    damaged = tmp_path / "damaged_low_noise.safetensors"
    damaged.write_bytes((models / "diffusion_models" / "t2v_plain_low_noise.safetensors").read_bytes()[:-9])
    parts = tuple(Part(name, str(path)) for name, path in (paths | {"transformer_2": damaged}).items())

    with pytest.raises(ModelNotFound, match=r"damaged_low_noise\.safetensors is damaged: \d+ bytes are there"):
        await supervisor.render(
            Model("a model", "cpu", "t2v-A14B", parts), request_to(tmp_path / "out.mp4"), lambda _event: None
        )
    assert await go(FOLDER)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*EXACT, *FLOAT8, "t2v_bf16_high_noise"])
async def test_the_clip_shows_what_the_words_say_from_each_layout(
    models: Path, supervisor: Supervisor, tmp_path: Path, name: str
) -> None:
    own = miniature()
    engine = engine_on(models, supervisor)
    spec = dataclasses.replace(
        A_SPEC, prompt="a red star moves to the right", size=own.sizes[0], frames=own.frames, steps=own.steps,
        guidance=own.guidance, shift=own.shift, seed=7, negative_prompt="", diffusion_models=(name,),
    )  # fmt: skip

    await engine.render(spec, tmp_path / "out.mp4", work_dir=tmp_path, report=lambda _: None)

    scene = read_clip(read_frames(tmp_path / "out.mp4"), things=1)
    assert ("red", "star", "right") == (scene.things[0].color, scene.things[0].shape, scene.motion)
