"""Take a request of any route into the queue: save its inputs, keep it on the volume, and record its job."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import logging
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wanworker.actions.generate.render_request import asked_of, job_request
from wanworker.actions.generate.request import GenerateRequest
from wanworker.actions.request.fields import parse
from wanworker.app import Worker
from wanworker.errors import InputRefused
from wanworker.jobs.model import Job
from wanworker.jobs.pending_requests import PendingRequests
from wanworker.jobs.runner import WRITTEN_AT_ONCE, PlaceOf, Runner
from wanworker.jobs.store.job_store import JobRequest
from wanworker.media.inputs.reader import Source
from wanworker.media.inputs.urls import parse_url
from wanworker.media.outputs.upload_url import UploadUrl
from wanworker.media.threads import in_thread
from wanworker.rest.service.executor import ACTION, render_request_of
from wanworker.rest.service.uploads import Uploads
from wanworker.text.mixups import mixed_up
from wanworker.text.printable import listed

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NewJob:
    """
    Hold the job that a route was asked for, before it has an id.

    `fields` are those of the `generate` action. `inputs` are the `reference_image`, the `driving_video` and the
    `audio` that came with the request; they are saved on the volume. `left_out` names the documented defaults that the
    caller did not send (see with_engine_defaults), None for a route that has none and means what `generate` means.
    `sent` names the caller's own fields, for the log.
    """

    fields: Mapping[str, Any]
    inputs: Mapping[str, Source] = field(default_factory=dict)
    left_out: Sequence[str] | None = None
    warnings: Sequence[str] = ()
    webhook_url: str | None = None
    upload_urls: tuple[UploadUrl, ...] = ()
    sent: Sequence[str] = ()


class Intake:
    """
    Put new jobs into the queue of *runner*. Each takes one of *turns* while it is written to the volume.

    The files that come with them have turns of their own, because a picture takes long to decode.
    """

    def __init__(
        self, worker: Worker, kept: PendingRequests, runner: Runner, uploads: Uploads, turns: asyncio.Semaphore
    ) -> None:
        self._worker = worker
        self._kept = kept
        self._runner = runner
        self._uploads = uploads
        self._turns = turns
        self._saving = asyncio.Semaphore(WRITTEN_AT_ONCE)

    async def queue(self, new: NewJob) -> Job:
        """Queue *new* and return its job. Raises WorkerError; then nothing of the request is left."""
        self._runner.check_room()
        request_id = uuid.uuid4().hex
        try:
            async with self._saving if new.inputs else contextlib.nullcontext():
                fields = {**new.fields, **await self._saved(new.inputs, request_id)}
            self._uploads.expect(request_id, new.upload_urls)
            async with self._turns:
                job = await self._runner.submit(functools.partial(self._kept_and_named, new, fields, request_id))
        except BaseException:
            self._uploads.forget(request_id)
            async with self._turns:
                await in_thread(self._kept.remove, request_id)
            raise
        log.info("job %s waits: %s", job.request_id, listed(sorted(new.sent)))
        return job

    def _kept_and_named(
        self, new: NewJob, fields: Mapping[str, Any], request_id: str
    ) -> tuple[JobRequest, PlaceOf | None]:
        """Keep the request on the volume. It may hold a picture of many megabytes, so nothing of this is the loop's."""
        request, _ = parse(GenerateRequest, fields)
        seed = request.drawn_seed()
        named = job_request(request, request_id=request_id, action=ACTION)
        named = dataclasses.replace(named, seed=seed, asked=asked_of(request))
        to_render = render_request_of(self._worker, request, named, inputs=self._worker.inputs, warnings=[])
        kept = {
            "fields": {**fields, "seed": seed},
            "left_out": new.left_out,
            "warnings": list(new.warnings),
            "webhook_url": new.webhook_url,
            "uploads": len(new.upload_urls),
        }
        self._kept.put(request_id, kept)
        return named, lambda _job: self._worker.renderer.place_of(to_render)

    async def _saved(self, inputs: Mapping[str, Source], request_id: str) -> dict[str, str]:
        """Save files on the volume, checked, and a picture decoded and clean. URLs are fetched later."""
        saved = {}
        if inputs:
            await in_thread(self._kept.make_folder)
        for name, source in inputs.items():
            stem, label = self._kept.image_stem(request_id), source.field or name
            if name == "driving_video":
                film = await self._worker.inputs.video(source, self._kept.folder, stem, label=label)
                path = film.replace(self._kept.film_path(request_id))
            elif name == "audio":
                sound = await self._worker.inputs.audio(source, self._kept.folder, stem, label=label)
                path = sound.replace(self._kept.sound_path(request_id))
            else:
                path = await self._worker.inputs.image(source, self._kept.folder, stem, label=label)
            saved[f"{name}_path"] = str(path.absolute())
        return saved


def check_url(url: str, field: str, *, hint: str) -> None:
    """Refuse at once a URL that no fetch would accept. Its host is resolved only when it is fetched."""
    if found := mixed_up(url, "url"):
        raise InputRefused(f"{field}: {found[0]}", hint=hint, field=field)
    try:
        parse_url(url.strip())
    except InputRefused as error:
        raise InputRefused(f"{field}: {error}", hint=hint, field=field) from error
