"""FastWAN on ComfyUI wherever a server has it; pictures of a render that is not over."""

import asyncio
from pathlib import Path

import pytest

from wanworker.app import Worker
from wanworker.engines.preview import Previewed
from wanworker.progress import Progress

LORA = "Wan2_2_5B_FastWanFullAttn_lora_rank_128_bf16.safetensors"
PREVIEW = Path(__file__).parents[1] / "data" / "comfyui" / "preview.bin"


@pytest.fixture
async def fastwan(comfyui):
    """Return the fake server with FastWAN's LoRA."""
    comfyui.models["loras"].append(LORA)
    comfyui.info["LoraLoaderModelOnly"]["input"]["required"]["lora_name"] = [comfyui.models["loras"]]
    return comfyui


def of_class(graph, name):
    return next(node["inputs"] for node in graph.values() if node["class_type"] == name)


async def test_the_documents_request_runs_fastwans_own_graph(fastwan, make_settings, serve_worker):
    worker = Worker(make_settings(comfyui_url=fastwan.url))
    async with serve_worker(worker) as rest:
        done = await rest.until(await rest.generate(prompt="A cat playing", steps=8, fps=24, seed=7))
        _, root = await rest.ask("GET", "/")
    (graph,) = fastwan.graphs
    sampler = of_class(graph, "KSampler")

    assert ("completed", "comfyui") == (done["status"], done["engine"]), done
    assert LORA == of_class(graph, "LoraLoaderModelOnly")["lora_name"]
    assert (8, 1.0, 7) == (sampler["steps"], sampler["cfg"], sampler["seed"])
    assert 121 == of_class(graph, "Wan22ImageToVideoLatent")["length"]
    assert ("comfyui", "online") == (root["engine"], root["comfyui_status"])


@pytest.mark.parametrize("field", ["loras", "high_noise_loras"])
async def test_a_lora_of_the_request_is_loaded_after_fastwans_own(fastwan, make_settings, serve_worker, field):
    fastwan.models["loras"].append("style.safetensors")
    worker = Worker(make_settings(comfyui_url=fastwan.url))
    async with serve_worker(worker) as rest:
        loras = [{"path": "style.safetensors", "scale": 0.5}]
        done = await rest.until(await rest.generate(prompt="A cat playing", **{field: loras}))
    (graph,) = fastwan.graphs
    sampler = of_class(graph, "KSampler")
    loaders = [node["inputs"] for node in graph.values() if node["class_type"] == "LoraLoaderModelOnly"]

    assert ("completed", "comfyui") == (done["status"], done["engine"]), done
    assert {LORA: 1.1, "style.safetensors": 0.5} == {each["lora_name"]: each["strength_model"] for each in loaders}
    assert (8, 1.0) == (sampler["steps"], sampler["cfg"])


async def test_without_the_lora_the_plain_model_renders_with_its_own_steps(comfyui, make_settings, serve_worker):
    worker = Worker(make_settings(comfyui_url=comfyui.url))
    async with serve_worker(worker) as rest:
        done = await rest.until(await rest.generate())
    sampler = of_class(comfyui.graphs[0], "KSampler")

    assert ("completed", "comfyui") == (done["status"], done["engine"]), done
    assert (50, 5.0) == (sampler["steps"], sampler["cfg"])
    assert any("steps and cfg left out" in line for line in done["warnings"])


async def test_another_engine_that_is_named_renders(fastwan, make_settings, serve_worker, engine):
    settings = make_settings(comfyui_url=fastwan.url)
    worker = Worker(settings, engines=(engine.row("diffusers"), *Worker(settings).registry.rows[1:]))
    async with serve_worker(worker) as rest:
        done = await rest.until(await rest.generate(engine="diffusers"))

    assert "diffusers" == done["engine"]
    assert not engine.seen[0].use_lora


async def test_a_preview_of_comfyui_becomes_a_picture_of_the_job(fastwan, make_settings, serve_worker):
    worker = Worker(make_settings(comfyui_url=fastwan.url))
    gate = fastwan.gates["/view"] = asyncio.Event()
    async with serve_worker(worker) as rest:
        job_id = await rest.generate()
        async with asyncio.timeout(20):
            while "preview_url" not in (status := await rest.status(job_id)):
                for socket in list(fastwan.sockets.values()):
                    await socket.send_bytes(PREVIEW.read_bytes())
                await asyncio.sleep(0.005)
        code, image = await rest.bytes_of(status["preview_url"])
        gate.set()
        done = await rest.until(job_id)

    assert (200, b"\xff\xd8\xff") == (code, image[:3])
    assert f"/preview/{job_id}" == status["preview_url"]
    assert "completed" == done["status"]
    assert "preview_url" not in done


async def test_a_preview_goes_with_its_job(rest):
    shown, go_on = asyncio.Event(), asyncio.Event()

    async def render(_spec, out_path, report):
        report(Previewed.of(Progress("sampling", 0.5, 1, 2, 1.0), b"picture", "image/png"))
        report(Progress("sampling", 0.6, 2, 2, 1.0))
        shown.set()
        await go_on.wait()
        out_path.write_bytes(rest.engine.clip.read_bytes())

    rest.engine.act = render
    job_id = await rest.generate()
    await shown.wait()
    during = await rest.bytes_of(f"/preview/{job_id}")
    progress = (await rest.status(job_id))["progress"]
    go_on.set()
    await rest.until(job_id)

    assert (200, b"picture") == during
    assert (60, int) == (progress, type(progress))
    assert 404 == (await rest.bytes_of(f"/preview/{job_id}"))[0]


@pytest.mark.parametrize("body", [{}, {"steps": 4}, {"cfg": 3, "seed": 7}], ids=["plain", "steps", "guidance"])
async def test_a_plan_for_generate_knows_fastwans_numbers(fastwan, make_settings, serve_worker, body):
    worker = Worker(make_settings(comfyui_url=fastwan.url))
    sent = {"prompt": "A cat playing", **body}
    async with serve_worker(worker) as rest:
        status, plan = await rest.ask("POST", "/plan?for=generate", json=sent)
        assert [] == fastwan.graphs
        done = await rest.until(await rest.generate(**sent))
    sampler = of_class(fastwan.graphs[0], "KSampler")

    assert (200, "comfyui", "completed") == (status, plan["engine"], done["status"]), plan
    assert (sampler["steps"], sampler["cfg"]) == (plan["recipe"]["steps"], plan["recipe"]["guidance"])
    assert (body.get("steps", 8), body.get("cfg", 1)) == (sampler["steps"], sampler["cfg"])
    assert done["warnings"] == plan["warnings"]
    assert body.get("seed") == plan["seed"]
