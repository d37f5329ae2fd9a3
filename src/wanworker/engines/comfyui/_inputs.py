"""Upload the files of a spec to a ComfyUI server under our own names, and measure them where the graph needs it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from wanworker.comfyui.client.http import ComfyClient
from wanworker.engines.comfyui.graphs import Uploads
from wanworker.media.video.conform import conform, frames_at
from wanworker.media.video.mp4 import VideoFacts
from wanworker.media.video.sound import sound_duration_s
from wanworker.media.video.writer import probe
from wanworker.ranges import RANGES
from wanworker.spec import TASKS, RenderSpec

#: The files that Wan's own preprocessing leaves in a prepared folder, and the graph's slot for each.
_PREPARED = {
    "image": "src_ref.png",
    "pose_video": "src_pose.mp4",
    "face_video": "src_face.mp4",
    "background_video": "src_bg.mp4",
    "mask_video": "src_mask.mp4",
}

#: Shapes that differ by less than this share are one.
_ONE_SHAPE = 0.05


async def sent_inputs(client: ComfyClient, spec: RenderSpec, run_id: str, work_dir: Path) -> Uploads:
    """
    Send every file of *spec* to the server. Return their names there, and the lengths that decide the number of frames.

    A driving video is first brought to the size, frame rate and length of the clip, in *work_dir*.
    """
    files = _files_of(spec)
    notes: list[str] = []
    frames = await _pose_frames(files)
    if spec.driving_video is not None and spec.prepared_dir is None:
        frames, files["driving_video"] = await _conformed(spec, spec.driving_video, work_dir, notes)
    names = {}
    for slot, path in files.items():
        names[slot] = (await client.upload(path, name=_name(run_id, slot, path), overwrite=True)).value
    return await _uploads(spec, names, frames, notes)


async def named_inputs(spec: RenderSpec, run_id: str) -> Uploads:
    """Return the same without sending or converting a file: the names that they would have."""
    files = _files_of(spec)
    notes: list[str] = []
    frames = await _pose_frames(files)
    if spec.driving_video is not None and spec.prepared_dir is None:
        files["driving_video"] = spec.driving_video
        given = await probe(spec.driving_video)
        _say_fit(spec, given, notes)
        most = _most_frames(spec)
        frames = _whole(await frames_at(spec.driving_video, fps=spec.fps, frames=most), most, given, spec.fps)
    return await _uploads(spec, {slot: _name(run_id, slot, path) for slot, path in files.items()}, frames, notes)


def _name(run_id: str, slot: str, path: Path) -> str:
    return f"{run_id}_{slot}{path.suffix}"


async def _pose_frames(files: Mapping[str, Path]) -> int | None:
    return (await probe(files["pose_video"])).frames if "pose_video" in files else None


async def _uploads(spec: RenderSpec, names: Mapping[str, str], frames: int | None, notes: Sequence[str]) -> Uploads:
    return Uploads(
        **names,
        audio_s=await sound_duration_s(spec.audio) if spec.audio else None,
        driving_frames=frames,
        notes=tuple(notes),
    )


async def _conformed(spec: RenderSpec, film: Path, work_dir: Path, notes: list[str]) -> tuple[int, Path]:
    """Return how many frames *film* has at the clip's frame rate, and the part of it that the clip follows."""
    target = work_dir / "conformed.mp4"
    given = await probe(film)
    follows = TASKS[spec.task].frames is None
    most = _most_frames(spec)
    size = (spec.size.width, spec.size.height)
    made = await conform(film, target, size=size, fps=spec.fps, frames=most, fit="contain" if follows else "cover")
    _say_fit(spec, given, notes)
    return _whole(made.frames, most, given, spec.fps), target


def _most_frames(spec: RenderSpec) -> int:
    return spec.frames or TASKS[spec.task].frames or int(RANGES["frames"].high)


def _whole(made: int, most: int, given: VideoFacts, fps: float) -> int:
    """Return how many frames the whole film has at *fps*, of which *made*, at most *most*, are used."""
    return max(made, round(given.duration_s * fps)) if made == most else made


def _say_fit(spec: RenderSpec, given: VideoFacts, notes: list[str]) -> None:
    if abs(math.log(given.width / given.height / spec.size.aspect)) > _ONE_SHAPE:
        how = "got black bars" if TASKS[spec.task].frames is None else "was cropped (centre)"
        notes.append(f"the {TASKS[spec.task].film} {how}, to have the shape of {spec.size}.")


def _files_of(spec: RenderSpec) -> dict[str, Path]:
    given = {"image": spec.image, "last_image": spec.last_image, "audio": spec.audio}
    files = {slot: path for slot, path in given.items() if path is not None}
    if spec.prepared_dir is not None:
        prepared = {slot: spec.prepared_dir / name for slot, name in _PREPARED.items()}
        files |= {slot: path for slot, path in prepared.items() if path.is_file()}
    return files
