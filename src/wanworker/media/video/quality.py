"""Encode a finished video again, once, in the quality that was asked for."""

from __future__ import annotations

from pathlib import Path

from wanworker.errors import EngineFailed
from wanworker.media.video import ffmpeg
from wanworker.media.video.writer import H264_CODEC, MP4_CONTAINER, probe


async def encode_at(path: Path, *, crf: int) -> None:
    """
    Replace *path* by the same frames as H.264 at *crf*, x264's constant rate factor; its sound is copied.

    The same file gives the same bytes. Raises EngineFailed or DiskFull; then, or when cancelled, *path* is as it was.
    """
    part = path.with_name(f"{path.name}.crf.part")
    try:
        before = await probe(path)
        streams = ("-map", "0:v:0", "-map", "0:a?", "-c:a", "copy", "-fps_mode", "passthrough")
        codec = ("-crf", str(crf), *H264_CODEC, *MP4_CONTAINER, f"file:{part}")
        finished = await ffmpeg.run("-y", "-loglevel", "error", *ffmpeg.reading(path), *streams, *codec)
        if finished.returncode != 0:
            raise ffmpeg.failure(f"encode {path.name} at crf {crf}", finished.returncode, finished.stderr)
        made = await probe(part)
        if made.frames != before.frames:
            raise EngineFailed(f"ffmpeg encoded {made.frames} of the {before.frames} frames of {path.name}.")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
