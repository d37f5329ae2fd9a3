"""Write frames as H.264, and check that a video file decodes."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, TypeAlias

from wanworker.errors import EngineFailed, EngineUnavailable, NoOutput
from wanworker.media.threads import in_thread
from wanworker.media.video import ffmpeg, mp4
from wanworker.media.video.mp4 import VideoFacts

Buffer: TypeAlias = bytes | bytearray | memoryview

#: x264's constant rate factor. At 16 the video is hard to tell from the frames themselves.
DEFAULT_CRF = 16

#: RGB to BT.709 by the accurate path (the fast one differs among CPUs). It is tagged, or players would guess by size.
_TO_BT709 = (
    "scale=in_range=pc:out_range=tv:out_color_matrix=bt709:flags=bicubic+accurate_rnd+full_chroma_int+bitexact,"
    "format=yuv420p,setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709"
)
#: The number of threads is fixed, because x264's result depends on it. The container gets no date and no version.
H264_CODEC = ("-c:v", "libx264", "-preset", "medium", "-pix_fmt", "yuv420p", "-threads", "4", "-flags:v", "+bitexact")
MP4_CONTAINER = ("-fflags", "+bitexact", "-map_metadata", "-1", "-movflags", "+faststart", "-f", "mp4")


class VideoWriter:
    """
    Stream RGB frames into an H.264 mp4: yuv420p, BT.709, index first. The same frames give the same bytes.

    Use it as a context manager. The file is written as `.part` beside *path*, and appears when the block ends well;
    otherwise nothing is left. It blocks, so it belongs in a child process or a thread.
    """

    def __init__(self, path: Path, width: int, height: int, fps: float, *, crf: int = DEFAULT_CRF) -> None:
        """
        Prepare for frames of *width* x *height* pixels, both even, at *fps* (fractions such as 23.976 too).

        *crf* is x264's constant rate factor, 0 (lossless) to 51. Raises ValueError for odd or impossible values.
        """
        if width < 2 or height < 2 or width % 2 or height % 2:
            raise ValueError(f"H.264 in yuv420p needs even sides of at least 2 pixels; got {width}x{height}.")
        if not 0 < fps <= 1000:
            raise ValueError(f"fps must be above 0 and at most 1000; got {fps}.")
        if not 0 <= crf <= 51:
            raise ValueError(f"crf must be between 0 and 51; got {crf}.")
        self.path = path
        self.frames = 0
        self._size = (width, height)
        self._fps = ffmpeg.rate(fps)
        self._crf = crf
        self._part = path.with_name(f"{path.name}.part")

    def __enter__(self) -> VideoWriter:
        width, height = self._size
        argv = [
            *(ffmpeg.program(), "-hide_banner", "-loglevel", "error", "-y"),
            *("-f", "rawvideo", "-pix_fmt", "rgb24", "-video_size", f"{width}x{height}"),
            *("-framerate", str(self._fps), "-i", "pipe:0"),
            *("-vf", _TO_BT709, "-crf", str(self._crf), *H264_CODEC, *MP4_CONTAINER, f"file:{self._part}"),
        ]
        self._stderr: IO[bytes] = tempfile.TemporaryFile()
        try:
            self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=self._stderr, env=ffmpeg.ENVIRONMENT)
        except OSError as error:
            self._stderr.close()
            raise EngineUnavailable(f"ffmpeg could not be started: {error.strerror}.") from error
        return self

    def write(self, rgb: Buffer) -> None:
        """
        Add one frame: width * height * 3 bytes, rows from the top, red first.

        Raises ValueError for another length, and DiskFull or EngineFailed if ffmpeg has given up.
        """
        width, height = self._size
        if memoryview(rgb).nbytes != width * height * 3:
            raise ValueError(
                f"A frame of {width}x{height} has {width * height * 3} bytes; got {memoryview(rgb).nbytes}."
            )
        if self._process.stdin is None:
            raise ValueError("The writer is closed.")
        try:
            self._process.stdin.write(rgb)
        except OSError as error:  # a broken pipe: ffmpeg has ended, and its own output says why
            raise self._failure() from error
        self.frames += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._stop()
            self._part.unlink(missing_ok=True)

    def _finish(self) -> None:
        if not self.frames:
            raise NoOutput(f"No frame was written to {self.path.name}.")
        if self._close_and_wait() != 0:
            raise self._failure()
        written = mp4.facts(self._part).frames
        if written != self.frames:
            raise EngineFailed(f"ffmpeg was given {self.frames} frames for {self.path.name}, but wrote {written}.")
        self._part.replace(self.path)

    def _close_and_wait(self) -> int:
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):  # ffmpeg was dead at the last flush; its exit code says so as well
                self._process.stdin.close()
        return self._process.wait()

    def _failure(self) -> Exception:
        returncode = self._close_and_wait()
        self._stderr.seek(0)
        said = self._stderr.read().decode("utf-8", "replace")
        return ffmpeg.failure(f"encode {self.path.name}", returncode, said)

    def _stop(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._close_and_wait()
        self._stderr.close()


async def probe(path: Path) -> VideoFacts:
    """
    Return what *path* holds without decoding it: an mp4 by its index, any other file by asking ffmpeg.

    Raises NoOutput if the file is missing, empty, cut short or not a video.
    """
    facts = await in_thread(_indexed_facts, path)
    if facts is not None:
        return facts
    return _facts_or_raise(path, await ffmpeg.run(*ffmpeg.reading(path), *_TO_NOWHERE, "-c", "copy", *_SINK))


async def decode_check(path: Path) -> VideoFacts:
    """
    Decode every frame and all sound of *path*, and return what it holds.

    Raises NoOutput if anything in it does not decode, if it has fewer frames than its index promises, or if it has
    none. On cancellation no process is left.
    """
    facts = await in_thread(_indexed_facts, path)
    # The edit list is ignored, so that an mp4 gives every frame of its index and both counts can be compared.
    lists = ("-ignore_editlist", "1") if facts else ()
    arguments = ("-xerror", "-err_detect", "explode", *lists, *ffmpeg.reading(path), *_TO_NOWHERE, "-map", "0:a?")
    decoded = await ffmpeg.run(*arguments, *_SINK)
    if facts is None:
        return _facts_or_raise(path, decoded)
    frames = ffmpeg.frames_counted(decoded.stdout)
    if decoded.returncode != 0:
        raise NoOutput(f"{path.name} does not decode. {ffmpeg.last_words(decoded.stderr)}")
    if frames < facts.frames:
        raise NoOutput(f"{path.name} has {facts.frames} frames in its index, but only {frames} decode.")
    return facts


_TO_NOWHERE = ("-map", "0:v:0", "-fps_mode", "passthrough", "-nostats", "-progress", "pipe:1")
_SINK = ("-f", "null", "-")


def _indexed_facts(path: Path) -> VideoFacts | None:
    """Return an mp4's facts, or None if only ffmpeg can tell. Raises NoOutput."""
    mp4.existing_size(path)
    if not mp4.looks_like_mp4(path):
        return None
    try:
        return mp4.facts(path)
    except mp4.Fragmented:
        return None


def _facts_or_raise(path: Path, finished: ffmpeg.Run) -> VideoFacts:
    frames = ffmpeg.frames_counted(finished.stdout)
    facts = ffmpeg.facts_in(finished.stderr, frames=frames, size_bytes=path.stat().st_size)
    if finished.returncode != 0 or facts is None:
        raise NoOutput(f"{path.name} is not a video that can be read. {ffmpeg.last_words(finished.stderr)}")
    return facts
