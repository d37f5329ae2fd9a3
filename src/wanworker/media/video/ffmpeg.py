"""Run the ffmpeg that imageio-ffmpeg brings, and explain its failures."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
import resource
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType

from wanworker.errors import DiskFull, EngineError, EngineFailed, EngineUnavailable
from wanworker.media._filetype import type_of
from wanworker.media.video.mp4 import VideoFacts
from wanworker.process import started

#: ffmpeg reads files that strangers send, so it does not get our environment.
ENVIRONMENT: Mapping[str, str] = MappingProxyType({"LC_ALL": "C"})

#: Containers only. ffmpeg would also follow playlists (HLS, concat), which name other files and addresses.
_DEMUXERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif,apng,webp_anim,mpegts,mpeg,ogg,flv,asf"

#: The most pixels of a caller's frame (8K is 33 megapixels), and the arguments that have larger ones refused before
#: there is memory for them.
MOST_PIXELS = 40_000_000
BOUNDS = ("-max_pixels", str(MOST_PIXELS))

#: How much of its standard error is kept: the beginning tells what the files are, the end what went wrong.
_SAID_BYTES, _CHUNK_BYTES = 65_536, 65_536

_FULL = ("No space left on device", "Disk quota exceeded")  # the second is how a RunPod network volume says it
_NO_NEWS = re.compile(r"\[out#|frame=|Conversion failed")


@dataclass(frozen=True, slots=True)
class Run:
    """Hold the result of one run of ffmpeg."""

    returncode: int
    stdout: bytes
    stderr: str


@functools.cache
def program() -> str:
    """Return the absolute path of ffmpeg. Raises EngineUnavailable if there is none."""
    import imageio_ffmpeg

    try:
        found: str | None = shutil.which(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise EngineUnavailable("There is no ffmpeg here; imageio-ffmpeg brings one.") from error
    if found is None:
        raise EngineUnavailable("The ffmpeg that imageio-ffmpeg names cannot be executed.")
    return found


def reading(path: Path, *, is_callers: bool = False) -> tuple[str, ...]:
    """
    Return the arguments that open *path* as an input: as a local file, by the reader of its type, and nothing else.
    With *is_callers*, frames of more than MOST_PIXELS are left out: a film may have larger ones than its first.

    ffmpeg guesses no type, for a guess may be a playlist that names other files. A type that no caller may send (an
    engine's own output) is one of the known containers.
    """
    file_type = type_of(path)
    demuxer = file_type.demuxer if file_type else None
    only = ("-f", demuxer) if demuxer else ("-format_whitelist", _DEMUXERS)
    bounds = BOUNDS if is_callers else ()
    return ("-protocol_whitelist", "file", *bounds, *only, "-i", f"file:{path}")


async def run(*arguments: str, on_line: Callable[[bytes], None] | None = None, memory_bytes: int | None = None) -> Run:
    """
    Run ffmpeg to its end and return its output. A failure is a return code, not an exception. Of a long standard error
    the beginning and the end are kept.

    *on_line* hears each line of its standard output at once, which is then not kept. With *memory_bytes*, ffmpeg fails
    when it needs more (Linux only).
    On cancellation the process is dead before CancelledError is raised. Raises EngineUnavailable without ffmpeg.
    """
    starting = asyncio.create_subprocess_exec(
        program(),
        "-hide_banner",
        "-nostdin",
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(ENVIRONMENT),  # uvloop takes nothing but a dict
    )
    process = await started(starting, _end)
    if memory_bytes is not None:
        _limit(process.pid, memory_bytes)
    assert process.stdout is not None
    assert process.stderr is not None
    said = asyncio.ensure_future(_said(process.stderr))
    stdout = b""
    try:
        if on_line is None:
            stdout = await process.stdout.read()
        else:
            async for line in process.stdout:
                on_line(line)
        stderr = await said
        await process.wait()
    finally:
        said.cancel()
        await _end(process)
    return Run(process.returncode or 0, stdout, stderr.decode("utf-8", "replace"))


def _limit(pid: int, memory_bytes: int) -> None:
    """Limit what a process may hold. It has not opened its input yet."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # it has ended already
            resource.prlimit(pid, resource.RLIMIT_DATA, (memory_bytes, memory_bytes))


async def _said(stderr: asyncio.StreamReader) -> bytes:
    """Return the beginning and the end of what ffmpeg says. It complains about each packet of a broken film."""
    beginning, end = bytearray(), bytearray()
    while chunk := await stderr.read(_CHUNK_BYTES):
        room = _SAID_BYTES - len(beginning)
        beginning += chunk[:room]
        end = (end + chunk[room:])[-_SAID_BYTES:]
    return bytes(beginning) + (b"\n" if len(end) == _SAID_BYTES else b"") + bytes(end)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def failure(doing: str, returncode: int, stderr: str) -> EngineError:
    """Return the error for a failed run: DiskFull if ffmpeg says so, else EngineFailed with ffmpeg's last words."""
    said = last_words(stderr)
    if "Read-only file system" in stderr:
        return DiskFull(f"The disk is read-only: ffmpeg could not {doing}.")
    if any(text in stderr for text in _FULL):
        return DiskFull(f"The disk is full: ffmpeg could not {doing}.")
    ending = f"was killed by signal {-returncode}" if returncode < 0 else f"ended with code {returncode}"
    return EngineFailed(f"ffmpeg could not {doing}: it {ending}. {said}".rstrip())


def last_words(stderr: str) -> str:
    """Return the last three meaningful lines, without memory addresses, statistics and summaries."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip() and not _NO_NEWS.match(line)]
    return re.sub(r" @ 0x[0-9a-f]+", "", " | ".join(lines[-3:]))[:600]


def rate(fps: float) -> Fraction:
    """Return *fps* as the fraction that video uses: 23.976, 29.97 and 59.94 are n * 1000 / 1001."""
    ntsc = Fraction(round(fps * 1.001) * 1000, 1001)
    if fps > 20 and fps != round(fps) and abs(float(ntsc) - fps) < 0.006:
        return ntsc
    return Fraction(fps).limit_denominator(1000)


def frames_counted(stdout: bytes) -> int:
    """Return the last frame count that `-progress pipe:1` wrote, or 0 if there is none."""
    counts = re.findall(rb"^frame=\s*(\d+)", stdout, re.MULTILINE)
    return int(counts[-1]) if counts else 0


def facts_in(stderr: str, *, frames: int, size_bytes: int) -> VideoFacts | None:
    """
    Read the facts from ffmpeg's text about its input and output, or None if there is no video in it. Pure.

    The size is the output's (with rotation applied); the codec and the sound are the input's. ffmpeg prints fps with
    two digits, which `rate` makes exact again.
    """
    source, _, sink = stderr.partition("Output #0")
    codec = re.search(r"Stream #0:\d+.*?: Video: (\w+)", source)
    shown = re.search(r": Video: .*?[ ,](\d{1,5})x(\d{1,5})[ ,].*?([\d.]+k?) fps", sink)
    if codec is None or shown is None or not frames:
        return None
    fps = float(rate(float(shown[3].removesuffix("k")) * (1000 if shown[3].endswith("k") else 1)))
    return VideoFacts(
        width=int(shown[1]),
        height=int(shown[2]),
        fps=fps,
        frames=frames,
        duration_s=frames / fps,
        size_bytes=size_bytes,
        codec=codec[1],
        has_audio=re.search(r"Stream #0:\d+.*?: Audio: ", source) is not None,
    )
