"""Bring a spec's files to a worker elsewhere: on the shared volume, inside the request, or by a bucket's link."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wanworker.client.targets.runpod_endpoint import MAX_BODY_BYTES
from wanworker.engines.runpod._fields import files_of
from wanworker.engines.runpod._volume import Volume
from wanworker.errors import EngineUnavailable, InputRefused
from wanworker.media.outputs.bucket import Bucket, NoBucket
from wanworker.media.outputs.file_facts import mime_of
from wanworker.media.outputs.upload import UploadFailed, upload
from wanworker.media.threads import in_thread
from wanworker.spec import RenderSpec

#: Room for the rest of a request: prompts of 10,000 characters, each up to 12 bytes of JSON, and names of files.
_REST_BYTES = 300_000


@dataclass(slots=True)
class Brought:
    """Hold the fields that name the files, the links among them, and the copies to remove when the job is over."""

    fields: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    copies: list[Path] = field(default_factory=list)


async def bring(
    spec: RenderSpec,
    name: str,
    brought: Brought,
    *,
    volume: Volume | None,
    bucket: Bucket | NoBucket | None,
    links: Mapping[str, str],
) -> None:
    """
    Bring the files of *spec*, whose render is called *name*, and note in *brought* where they are.

    With a *volume*, every file is copied there. Otherwise the small ones go inside the request, as many as RunPod's
    limit allows, and the others to *bucket*; *links* are those that an earlier try of this render has put there.
    Raises InputRefused for a file that cannot get there, and EngineUnavailable if the bucket does not take it.
    """
    if spec.prepared_dir is not None:
        brought.fields["prepared_path"] = _folder_there(spec.prepared_dir, volume)
    room = MAX_BODY_BYTES - _REST_BYTES
    for stem, path in sorted(files_of(spec).items(), key=lambda pair: pair[1].stat().st_size):
        size = -(-path.stat().st_size // 3) * 4
        if volume is not None:
            copy, there = volume.input_place(f"{name}-{stem}{path.suffix}")
            brought.copies.append(copy)  # before it is there: a copy that is cut short is removed too
            try:
                await in_thread(volume.put, path, copy)
            except OSError as error:
                text = f"{stem} could not be copied to the shared volume: {error.strerror}."
                raise EngineUnavailable(text, hint="WAN_RUNPOD_VOLUME says where the volume is.") from error
            brought.fields[f"{stem}_path"] = there
        elif size <= room:
            brought.fields[f"{stem}_base64"] = await in_thread(_base64, path)
            room -= size
        else:
            link = links.get(f"{stem}_url") or await _uploaded(path, stem, name, bucket)
            brought.links[f"{stem}_url"] = brought.fields[f"{stem}_url"] = link


def _folder_there(folder: Path, volume: Volume | None) -> str:
    if volume is None:
        hint = "Set WAN_RUNPOD_VOLUME to a volume that both have, and put the folder there."
        raise InputRefused(
            "A prepared folder cannot be sent to an endpoint without a shared volume.", hint=hint, field="prepared_path"
        )
    return volume.there(folder, field="prepared_path")


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


async def _uploaded(path: Path, stem: str, name: str, bucket: Bucket | NoBucket | None) -> str:
    if not isinstance(bucket, Bucket):
        why = f" {bucket.reason}" if bucket is not None else ""
        text = f"{stem}: the file has {path.stat().st_size / 1e6:.1f} MB, and RunPod takes requests of 10 MB.{why}"
        hint = "Send a smaller file, or set BUCKET_... or WAN_RUNPOD_VOLUME on this server."
        raise InputRefused(text, hint=hint, field=stem)
    try:
        return await upload(bucket, path, f"inputs/{name}-{stem}{path.suffix}", mime=mime_of(path))
    except UploadFailed as error:
        raise EngineUnavailable(f"{stem} could not be brought to the endpoint. {error}") from error
