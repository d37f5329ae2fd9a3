"""What `plan` says against what the job then does: random valid requests over each engine's stand-in."""

from __future__ import annotations

import base64
import io
import os
import random
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from fakes import tiny_wan
from fakes.clips import clip
from fakes.comfyui_wan import WanServer
from fakes.recordings import sound
from fakes.wan.home import make_home
from wanworker.actions.base import Call
from wanworker.app import Worker
from wanworker.engines._capabilities import DIFFUSERS, MINI, WAN_CLI
from wanworker.engines.base import EngineRow
from wanworker.engines.comfyui.graphs.choice._steps import SAMPLERS
from wanworker.engines.diffusers import DiffusersEngine
from wanworker.engines.mini import MiniEngine
from wanworker.engines.resident.parent.start import resident
from wanworker.engines.wan_cli.engine import WanCli
from wanworker.errors import WorkerError
from wanworker.jobs.model import Job
from wanworker.settings import Settings, child_environment
from wanworker.spec import TASKS

ENVIRONMENT = {**child_environment(), "OMP_NUM_THREADS": "1"}

Fields = dict[str, Any]
MakeSettings = Callable[..., Settings]


def picture(rng: random.Random, *, detailed: bool) -> str:
    """Return a picture of a random shape, flat or of many colours, as base64."""
    width, height = rng.choice([(64, 64), (96, 64), (64, 112), (130, 70)])
    made = Image.new("RGB", (width, height), (200, 30, 30))
    if detailed:
        made.putdata([(x * 37 % 256, x * 91 % 256, x * 13 % 256) for x in range(width * height)])
    else:
        ImageDraw.Draw(made).rectangle((10, 10, 30, 30), fill=(10, 200, 30))
    file = io.BytesIO()
    made.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def some(rng: random.Random, **choices: list[Any]) -> Fields:
    """Return some of the fields, each with one of its values."""
    return {name: rng.choice(values) for name, values in choices.items() if rng.random() < 0.4}


#: Small ones, and the nearest that upstream's program takes.
SIZES: tuple[Fields, ...] = (
    {}, {"size": "64*64"}, {"size": "80*48"}, {"width": 96, "height": 64}, {"size": "70*70"}, {"size": "65*127"},
)  # fmt: skip
UPSTREAM_SIZES: tuple[Fields, ...] = ({}, {"size": "832*480"}, {"size": "480*800"}, {"size": "1280*704"})


def random_fields(rng: random.Random, tasks: list[str], folder: Path, sizes: tuple[Fields, ...]) -> Fields:
    """Return the fields of a request for one of *tasks*; the sound and the driving video are in *folder*."""
    task = TASKS[rng.choice(tasks)]
    fields: Fields = {
        "task": task.name,
        "prompt": rng.choice(["a red star moves to the right", "a cube", "fog over the hills", ""]),
        "frame_num": rng.choice([5, 6, 9, 13, 16]),
        "sample_steps": rng.choice([1, 2, 3, 5]),
    }
    fields |= some(
        rng,
        negative_prompt=["rain"],
        fps=[8, 16, 24],
        sample_guide_scale=[1, 1.5, 4],
        guidance_scale_2=[1, 3],
        sample_shift=[3, 8.5],
        sample_solver=["unipc", "dpm++"],
        seed=[7, -1],
        offload_model=[True, False],
        profile=["exact", "fast"],
        use_lora=[True],
        crf=[20],
        num_outputs=[2],
        strange_field=[1],
    )
    fields |= rng.choice(sizes)
    if task.takes_image and (task.needs_image or rng.random() < 0.5):
        fields["reference_image_base64"] = picture(rng, detailed=rng.random() < 0.3)
    if rng.random() < 0.2:
        fields["last_image_base64"] = picture(rng, detailed=False)
    if task.needs_audio:
        fields["audio_path"] = str(folder / "tone.wav")
    if task.needs_driving_video:
        fields |= rng.choice(
            [{"driving_video_path": str(folder / "dance.mp4")}, {"prepared_path": str(folder / "made")}]
        )
    return fields


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    folder = tmp_path / "inputs"
    (folder / "made").mkdir(parents=True)
    sound(folder / "tone.wav")
    clip(folder / "dance.mp4", frames=9)
    Image.new("RGB", (64, 64)).save(folder / "made" / "src_ref.png")
    for name in ("src_pose.mp4", "src_face.mp4", "src_bg.mp4", "src_mask.mp4"):
        clip(folder / "made" / name, frames=9)
    return folder


async def asked(worker: Worker, fields: Fields) -> dict[str, Any] | WorkerError:
    """Return the answer, or why there is none."""
    try:
        return await worker.perform(fields, Call("unnamed", None, lambda _: None, 10**8))
    except WorkerError as error:
        return error


def files_of(worker: Worker) -> list[Path]:
    places = (worker.settings.out_dir, worker.settings.jobs_dir)
    kept = {".json", ".jsonl", ".alias", ".mp4"}  # others are this process's own marks, which come and go by themselves
    return sorted(path for place in places for path in place.rglob("*") if path.suffix in kept)


def reason(answer: dict[str, Any] | WorkerError) -> tuple[object, ...]:
    """Return why there is no answer, and else the answer itself."""
    if isinstance(answer, WorkerError):
        return type(answer), str(answer), answer.hint, answer.field
    return (answer,)


async def planned_and_done(worker: Worker, fields: Fields) -> tuple[dict[str, Any], Job] | None:
    """
    Return the plan and the job of *fields*, None for a request that both refuse in the same words.

    What every engine must have said before: engine, model, recipe, placement and warnings.
    """
    before = files_of(worker)
    plan = await asked(worker, {**fields, "action": "plan"})
    assert before == files_of(worker), "a plan writes nothing"
    request_id = uuid.uuid4().hex
    answer = await asked(worker, {**fields, "action": "generate", "request_id": request_id, "return_video": False})
    if isinstance(plan, WorkerError) or isinstance(answer, WorkerError):
        assert reason(plan) == reason(answer), fields
        return None
    job = worker.store.find(request_id)
    said = (plan["engine"], plan["model"], plan["recipe"], plan["placement"], plan["warnings"])
    assert said == (job.engine, job.model, job.recipe, job.placement, list(job.warnings)), fields
    assert answer["warnings"] == plan["warnings"]
    assert plan["seed"] in {None, job.seed}
    return plan, job


def check_files(plan: dict[str, Any], job: Job) -> int:
    """Check what the plan says of the file, and return how much of it was known."""
    known = 0
    for output in job.outputs:
        for name, value in plan["video"].items():
            made = getattr(output, name)
            if value is None:
                assert plan["unknown"], f"{name} is not known, and nothing says why"
            elif name == "duration_s":
                assert value == pytest.approx(made, abs=0.05)
            else:
                known += 1
                assert value == made, name
    return known


async def go(
    worker: Worker,
    inputs: Path,
    *,
    count: int,
    seed: int,
    tasks: tuple[str, ...] = tuple(TASKS),
    sizes: tuple[Fields, ...] = SIZES,
    check: Callable[[dict[str, Any], Job], int] = check_files,
) -> list[int]:
    """Plan and render *count* valid requests. Return how much *check* knew of each before."""
    rng = random.Random(seed)
    known: list[int] = []
    for _ in range(5 * count):
        if made := await planned_and_done(worker, random_fields(rng, [*tasks], inputs, sizes)):
            known.append(check(*made))
        if len(known) == count:
            return known
    raise AssertionError(f"only {len(known)} of the requests were valid")


@pytest.fixture
async def comfyui_alone(comfyui: WanServer, make_settings: MakeSettings, inputs: Path) -> AsyncIterator[Worker]:
    settings = make_settings(comfyui_url=comfyui.url, allow_hosts="127.0.0.1", input_dirs=(inputs,), mini=False)
    worker = Worker(settings)
    yield worker
    await worker.close()


def values(graph: dict[str, Any], name: str) -> set[Any]:
    """Return what the nodes of *graph* have for the input *name*, links left out."""
    given = [node["inputs"].get(name) for node in graph.values()]
    return {value for value in given if value is not None and not isinstance(value, list)}


@pytest.mark.parametrize("count", [8, pytest.param(50, marks=pytest.mark.slow)])
async def test_a_plan_for_comfyui_is_what_its_graph_has(
    comfyui_alone: Worker, comfyui: WanServer, inputs: Path, count: int
) -> None:
    seen = 0

    def check_graphs(plan: dict[str, Any], job: Job) -> int:
        """Check what the plan says against the graphs: the fake's files are always the same."""
        nonlocal seen
        graphs, seen = comfyui.graphs[seen:], len(comfyui.graphs)
        assert len(graphs) == len(job.outputs) == plan["num_outputs"]
        recipe, video = plan["recipe"], plan["video"]
        for graph in graphs:
            assert (values(graph, "width"), values(graph, "height")) == ({video["width"]}, {video["height"]})
            assert values(graph, "sampler_name") == {SAMPLERS[recipe["solver"]]}
            assert values(graph, "shift") <= {recipe["shift"]}
            assert values(graph, "cfg") <= {recipe["guidance"], recipe["guidance_low"]}
            assert values(graph, "steps") <= {recipe["steps"]}
            assert job.task in {"s2v-14B", "animate-14B"} or values(graph, "length") == {video["frames"]}
        return len(values(graphs[0], "steps"))

    known = await go(comfyui_alone, inputs, count=count, seed=18, check=check_graphs)

    assert sum(known) > count / 2
    assert comfyui.seen["POST /prompt"] == seen, "a plan queues nothing"


@pytest.fixture
async def wan_cli_alone(tmp_path: Path, make_settings: MakeSettings, inputs: Path) -> AsyncIterator[Worker]:
    home, models = make_home(tmp_path, "ok")

    def build(_settings: Settings) -> WanCli:
        return WanCli(
            home=home, python=sys.executable, model_dirs=[models], env={"PATH": os.defpath, "HOME": "/nowhere"},
            gpus=lambda: (), available_memory_mib=lambda: None,
        )  # fmt: skip

    settings = make_settings(engine="wan_cli", input_dirs=(inputs,))
    worker = Worker(settings, engines=(EngineRow("wan_cli", WAN_CLI, build),))
    yield worker
    await worker.close()


@pytest.mark.parametrize("count", [2, pytest.param(50, marks=pytest.mark.slow)])
async def test_a_plan_for_wan_cli_is_what_generate_py_makes(wan_cli_alone: Worker, inputs: Path, count: int) -> None:
    known = await go(wan_cli_alone, inputs, count=count, seed=22, sizes=UPSTREAM_SIZES)

    assert sum(known) >= count


@pytest.fixture
async def mini_alone(make_settings: MakeSettings, inputs: Path) -> AsyncIterator[Worker]:
    settings = make_settings(engine="mini", input_dirs=(inputs,))
    engine = MiniEngine(settings, supervisor=resident(ENVIRONMENT))
    worker = Worker(settings, engines=(EngineRow("mini", MINI, lambda _: engine),))
    yield worker
    await worker.close()


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a_plan_for_the_miniature_is_what_it_makes(mini_alone: Worker, inputs: Path) -> None:
    known = await go(mini_alone, inputs, count=50, seed=5, sizes=SIZES[1:])

    assert set(known) == {4, 8}, "everything is known, of one output and of two"


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    tiny_wan.write(folder)
    return folder


@pytest.fixture
async def diffusers_alone(models: Path, make_settings: MakeSettings, inputs: Path) -> AsyncIterator[Worker]:
    settings = make_settings(engine="diffusers", input_dirs=(inputs,), ckpt_dir=models)
    engine = DiffusersEngine(
        settings, gpus=lambda: (), available_memory_mib=lambda: None, supervisor=resident(ENVIRONMENT)
    )
    worker = Worker(settings, engines=(EngineRow("diffusers", DIFFUSERS, lambda _: engine),))
    yield worker
    await worker.close()


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a_plan_for_diffusers_is_what_it_makes(diffusers_alone: Worker, inputs: Path) -> None:
    tasks = ("t2v-A14B", "i2v-A14B", "ti2v-5B")
    known = await go(diffusers_alone, inputs, count=50, seed=3, tasks=tasks, sizes=SIZES[1:])

    assert set(known) == {4, 8}, "everything is known, of one output and of two"
