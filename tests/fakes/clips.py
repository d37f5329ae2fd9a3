"""Small real videos, made and changed by ffmpeg."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from wanworker.errors import NoOutput
from wanworker.media.video import ffmpeg
from wanworker.media.video._frames import AS_PPM, pictures_in
from wanworker.media.video.writer import VideoWriter

if TYPE_CHECKING:
    import numpy

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def solid(color: tuple[int, int, int], *, width: int = 64, height: int = 48) -> bytes:
    """Return one frame of one colour."""
    return bytes(color) * (width * height)


def clip(path: Path, *, frames: int = 17, width: int = 64, height: int = 48, fps: float = 16) -> Path:
    """Write a clip that goes from black to red, frame by frame."""
    with VideoWriter(path, width, height, fps) as writer:
        for index in range(frames):
            writer.write(solid((255 * index // max(1, frames - 1), 0, 0), width=width, height=height))
    return path


def noisy_clip(path: Path, *, frames: int = 33, width: int = 320, height: int = 240, fps: float = 16) -> Path:
    """Write a clip that compresses badly: smooth noise, other in each frame; the same in each run."""
    import numpy

    random = numpy.random.default_rng(0)
    with VideoWriter(path, width, height, fps) as writer:
        for _ in range(frames):
            coarse = random.integers(0, 256, (height // 4, width // 4, 3), dtype=numpy.uint8)
            writer.write(coarse.repeat(4, axis=0).repeat(4, axis=1).tobytes())
    return path


def converted(source: Path, target: Path, *arguments: str) -> Path:
    """Run *source* through ffmpeg with *arguments* before the output."""
    argv = [ffmpeg.program(), "-y", "-loglevel", "error", "-i", str(source), *arguments, str(target)]
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
    return target


def with_sound(source: Path, target: Path) -> Path:
    """Add a sine tone, as AAC, for as long as the video is."""
    tone = ("-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100")
    return converted(source, target, *tone, "-c:v", "copy", "-c:a", "aac", "-shortest", "-map", "0:v", "-map", "1:a")


def long_clip(path: Path) -> Path:
    """Write a clip that takes long to decode: a thousand frames of ffmpeg's moving test picture."""
    picture = ("-f", "lavfi", "-i", "testsrc2=size=640x480:rate=25:duration=40")
    argv = [ffmpeg.program(), "-y", "-loglevel", "error", *picture, "-c:v", "mpeg4", "-q:v", "3", str(path)]
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
    return path


def read_frames(path: Path) -> numpy.ndarray[tuple[int, int, int, int], numpy.dtype[numpy.uint8]]:
    """Return all frames, shape (frames, height, width, 3). Raises NoOutput if it does not decode."""
    import numpy

    argv = [ffmpeg.program(), "-loglevel", "error", "-xerror", *ffmpeg.reading(path), "-map", "0:v:0", *AS_PPM]
    decoded = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if decoded.returncode != 0:
        raise NoOutput(f"{path.name} does not decode. {ffmpeg.last_words(decoded.stderr.decode(errors='replace'))}")
    frames = pictures_in(io.BytesIO(decoded.stdout))
    return numpy.stack([numpy.frombuffer(each.rgb, numpy.uint8).reshape(each.height, each.width, 3) for each in frames])
