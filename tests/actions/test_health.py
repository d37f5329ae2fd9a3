"""`health`: the documented keys, and what doctor knows besides."""

from __future__ import annotations

import asyncio
from pathlib import Path

from door import ask
from fakes.engine import ScriptedEngine
from wanworker.app import Worker
from wanworker.engines.machine.facts import Machine, MachineFacts
from wanworker.models.machine.gpu_kernel import KernelRun
from wanworker.models.machine.hardware import Gpu, GpuUse


async def test_health_carries_what_doctor_knows(make_settings, tmp_path):
    settings = make_settings(preload="t2v-A14B")
    damaged = settings.ckpt_dir / "loras" / "half.safetensors"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"")
    worker = Worker(settings, engines=(ScriptedEngine(tmp_path / "none.mp4").row(),))
    worker.facts.note_kernel("/venv/bin/python", KernelRun(True, False, "a kernel ran"))
    worker.warm_up()
    while worker.preloader.preloads[0].state != "failed":
        await asyncio.sleep(0.01)
    answer, _ = await ask(worker, {"input": {"health": True}})
    await worker.close()

    assert answer["damaged"] == [{"path": str(damaged), "flaw": "no safetensors header in a file of 0 bytes"}]
    assert [entry["path"] for entry in answer["disk"]] == [str(settings.ckpt_dir), str(settings.out_dir)]
    assert all(entry["free_bytes"] > 0 for entry in answer["disk"])
    (kernel,) = answer["kernels"]
    assert (kernel["python"], kernel["ran"], kernel["text"]) == ("/venv/bin/python", True, "a kernel ran")
    (preload,) = answer["preload"]
    assert (preload["name"], preload["state"]) == ("t2v-A14B", "failed")
    assert "diffusers loads its weights for each job" in preload["error"]
    assert answer["facts_age_s"] >= 0


async def test_nothing_asked_for_is_nothing_preloaded(make_settings, tmp_path: Path):
    worker = Worker(make_settings(), engines=(ScriptedEngine(tmp_path / "none.mp4").row(),))
    worker.warm_up()
    answer, _ = await ask(worker, {"input": {"health": True}})
    await worker.close()

    assert (answer["preload"], answer["kernels"], answer["damaged"]) == ([], [], [])


async def test_health_names_what_fetches_the_missing_weights_and_what_the_cards_do(make_settings):
    worker = Worker.from_settings(make_settings())
    card = Gpu("a card", 46068, "8.9", "580.1")
    worker.facts = MachineFacts(
        worker.registry, machine=Machine(gpus=lambda: [card, card], uses=lambda: [GpuUse(1200, 61, None)])
    )
    answer, _ = await ask(worker, {"input": {"health": True}})
    await worker.close()

    assert answer["fetch"]["comfyui"]["ti2v-5B"] == "wanworker fetch fastwan-5b"
    assert "mini" not in answer["fetch"] or answer["fetch"]["mini"] == {}
    assert answer["gpus"][0]["used_mib"] == 1200
    assert (answer["gpus"][0]["temperature_c"], answer["gpus"][0]["busy_percent"]) == (61, None)
    assert "used_mib" not in answer["gpus"][1]
