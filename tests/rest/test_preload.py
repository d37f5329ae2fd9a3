"""The REST door warms up what WAN_PRELOAD names too, and its first video tells what the start took."""

from __future__ import annotations

import asyncio

from wanworker.app import Worker
from wanworker.engines.machine.facts import Machine, MachineFacts
from wanworker.models.machine.gpu_kernel import KernelRun
from wanworker.models.machine.hardware import Gpu

CARD = Gpu("NVIDIA GeForce RTX 5090", 32_607, "12.0", "580.95")


async def test_what_is_named_comes_up_with_the_server(serve):
    async with serve(preload="t2v-A14B") as rest:
        _, answer = await rest.ask("POST", "/v2/any/runsync", json={"input": {"health": True}})

    assert ["t2v-A14B"] == [preload["name"] for preload in answer["output"]["preload"]]


async def test_the_first_video_tells_what_the_start_took(rest):
    first = await rest.until(await rest.generate())
    second = await rest.until(await rest.generate(seed=2))

    assert first["timings"]["start_s"] > 0
    assert "start_s" not in second["timings"]


async def test_a_kernel_runs_beside_the_start_and_is_told_without_a_refresh(serve_worker, make_settings, engine):
    go = asyncio.Event()

    async def kernel(_python):
        await go.wait()
        return KernelRun(True, False, "a kernel ran")

    worker = Worker(make_settings(), engines=(engine.row(),))
    worker.facts = MachineFacts(worker.registry, machine=Machine(gpus=lambda: [CARD], kernel=kernel))
    async with serve_worker(worker) as rest, asyncio.timeout(20):

        async def kernels():
            _, answer = await rest.ask("POST", "/v2/any/runsync", json={"input": {"health": True}})
            return [each["text"] for each in answer["output"]["kernels"]]

        before = await kernels()  # answered, though the kernel is not through
        go.set()
        while not (after := await kernels()):
            await asyncio.sleep(0.02)

    assert ([], ["a kernel ran"]) == (before, after)
