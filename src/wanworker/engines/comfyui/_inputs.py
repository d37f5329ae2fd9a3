"""Upload the files of a spec to a ComfyUI server under our own names, and measure them where the graph needs it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from wanworker.comfyui.client.http import ComfyClient
from wanworker.engines.comfyui.graphs import Uploads
from wanworker.media.video.sound import sound_duration_s
from wanworker.media.video.writer import probe
from wanworker.spec import RenderSpec

#: The files that Wan's own preprocessing leaves in a prepared folder, and the graph's slot for each.
_PREPARED = {
    "image": "src_ref.png",
    "pose_video": "src_pose.mp4",
    "face_video": "src_face.mp4",
    "background_video": "src_bg.mp4",
    "mask_video": "src_mask.mp4",
}


async def sent_inputs(client: ComfyClient, spec: RenderSpec, run_id: str) -> Uploads:
    """
    Send every file of *spec* to the server. Return their names there, and the lengths that decide the number of clips.
    """
    names = {}
    for slot, path in _files_of(spec).items():
        names[slot] = (await client.upload(path, name=_name(run_id, slot, path), overwrite=True)).value
    return await _measured(spec, names)


async def named_inputs(spec: RenderSpec, run_id: str) -> Uploads:
    """Return the same without sending a file: the names that they would have."""
    return await _measured(spec, {slot: _name(run_id, slot, path) for slot, path in _files_of(spec).items()})


def _name(run_id: str, slot: str, path: Path) -> str:
    return f"{run_id}_{slot}{path.suffix}"


async def _measured(spec: RenderSpec, names: Mapping[str, str]) -> Uploads:
    pose = _files_of(spec).get("pose_video")
    return Uploads(
        **names,
        audio_s=await sound_duration_s(spec.audio) if spec.audio else None,
        driving_frames=(await probe(pose)).frames if pose else None,
    )


def _files_of(spec: RenderSpec) -> dict[str, Path]:
    given = {"image": spec.image, "last_image": spec.last_image, "audio": spec.audio}
    files = {slot: path for slot, path in given.items() if path is not None}
    if spec.prepared_dir is not None:
        prepared = {slot: spec.prepared_dir / name for slot, name in _PREPARED.items()}
        files |= {slot: path for slot, path in prepared.items() if path.is_file()}
    return files
