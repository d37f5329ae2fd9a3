"""The right to write at a caller's URL lives no longer than the job that it was given for."""

from __future__ import annotations

import asyncio

from fastapi import FastAPI

from wanworker.app import Worker
from wanworker.errors import EngineFailed
from wanworker.rest._app import Parts

PATIENCE_S = 20
FIELDS = {"prompt": "a cat", "width": 64, "height": 64, "length": 5, "output_upload_urls": ["https://127.0.0.1:9/a"]}


async def nothing_kept(parts: Parts) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while parts.kept.ids():
            await asyncio.sleep(0.02)


async def test_the_urls_of_a_job_that_failed_are_forgotten(make_settings, engine) -> None:
    def act(*_asked: object) -> None:
        raise EngineFailed("the card fell out")

    engine.act = act
    settings = make_settings(allow_hosts=("127.0.0.1",))
    parts = Parts(Worker(settings, engines=(engine.row(),)), settings)
    async with parts.running(FastAPI()):
        started = await parts.service.submit(FIELDS)
        await nothing_kept(parts)
        job = await parts.service.find(started["job_id"])
        put = await parts.uploads.put(job)

    assert ("ERROR", "output_upload_urls were lost") == (job.status.value, put.warnings[-1][:28])
