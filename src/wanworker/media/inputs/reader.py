"""Read a caller's pictures, sounds and videos from a URL, base64 text or a path, and check them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wanworker.errors import InputRefused, InputUnavailable, RequestError
from wanworker.media._filetype import HEAD_BYTES, FileType, describe, serves_as, sniff
from wanworker.media.inputs import data_uri
from wanworker.media.inputs._fetch import FetchLimits, Network, fetch
from wanworker.media.inputs.allowed_dirs import copy_file, directory_below, file_below
from wanworker.media.inputs.decoding.decoders import PictureDecoders
from wanworker.media.new_file import new_file
from wanworker.media.threads import in_thread
from wanworker.media.video import ffmpeg
from wanworker.text.mixups import mixed_up

#: For each kind: ffmpeg's names of the stream and of one frame, and our word. "V" leaves out cover pictures of songs.
_STREAMS = {"sound": ("0:a:0", "-frames:a", "sound"), "film": ("0:V:0", "-frames:v", "moving picture")}


async def require_stream(
    path: Path,
    kind: Literal["sound", "film"],
    *,
    reader: str,
    timeout_s: float,
    memory_bytes: int = 2 * 1024**3,
    run: Callable[..., Awaitable[ffmpeg.Run]] = ffmpeg.run,
) -> None:
    """
    Decode the first frame of the first sound or film stream of *path*.

    Only the ffmpeg demuxer *reader* may open the file, and it may open only this local file: no playlist, no second
    file, no network. *run* runs ffmpeg with at most *memory_bytes* of memory, because an index of 3 kB may promise so
    many samples that it would take gigabytes.

    Raises InputUnavailable if there is no such stream, it does not decode or that takes too much time or memory, and
    EngineUnavailable if there is no ffmpeg.
    """
    stream, one_frame, wanted = _STREAMS[kind]
    reading = ("-protocol_whitelist", "file", *ffmpeg.BOUNDS, "-f", reader, "-i", f"file:{path}")
    listing = ("-map", stream, one_frame, "1", "-f", "framecrc", "-")
    try:
        async with asyncio.timeout(timeout_s):
            one_thread = ("-threads", "1", "-filter_threads", "1")  # each has a stack of its own
            finished = await run("-v", "error", *one_thread, *reading, *listing, memory_bytes=memory_bytes)
    except TimeoutError as error:
        raise InputUnavailable(f"it could not be opened within {timeout_s:g} s.") from error
    # There is one line for each decoded frame. ffmpeg also ends with 0 if it has decoded nothing.
    if not any(line and not line.startswith(b"#") for line in finished.stdout.splitlines()):
        raise InputUnavailable(f"it holds no {wanted} that can be decoded.")


@dataclass(frozen=True, slots=True)
class Source:
    """Say where an input comes from. `field` is the request's field that named it, which errors carry."""

    kind: Literal["url", "base64", "path"]
    value: str
    field: str | None = None

    def plainly(self) -> tuple[str, str]:
        """Return the kind and the value in the form that is the same for every spelling of one source."""
        if self.kind == "base64" or data_uri.is_data_url(self.value):
            return "base64", data_uri.plain_base64(self.value)
        return self.kind, self.value


@dataclass(frozen=True, slots=True)
class InputLimits:
    """Limit inputs: the sizes of the files as they arrive, and the times for one download and one check by ffmpeg."""

    image_bytes: int = 32_000_000
    image_pixels: int = 64_000_000
    audio_bytes: int = 64_000_000
    video_bytes: int = 256_000_000
    document_bytes: int = 16_000_000
    fetch_timeout_s: float = 60.0
    open_timeout_s: float = 20.0


class InputReader:
    """
    Bring inputs into a job's folder.

    *allow_hosts* are private hosts that URLs may lead to, *roots* the folders that paths may lie in. Every method
    writes only below the folder that it is given, and always removes its temporary file. Once it has returned, raised
    or been cancelled, nothing of it still runs, so the caller can remove the folder.

    Every method raises InputUnavailable for an input that cannot be read or is of the wrong kind, InputRefused for one
    that we do not read, and DiskFull. *label* begins the message: "reference image: http://... answered 404."
    """

    def __init__(
        self,
        *,
        allow_hosts: Sequence[str] = (),
        roots: Sequence[Path] = (),
        limits: InputLimits | None = None,
        network: Network | None = None,
        decoders: PictureDecoders | None = None,
    ) -> None:
        self._allow_hosts = tuple(allow_hosts)
        self._roots = tuple(roots)
        self._limits = limits or InputLimits()
        self._network = network or Network()
        self._decoders = decoders or PictureDecoders()

    def below(self, *roots: Path) -> InputReader:
        """Return a reader of paths in *roots*, with the same processes, which this one closes, and the same limits."""
        return InputReader(
            allow_hosts=self._allow_hosts,
            roots=roots,
            limits=self._limits,
            network=self._network,
            decoders=self._decoders,
        )

    def close(self) -> None:
        """End the processes that decode pictures."""
        self._decoders.close()

    async def image(self, source: Source, folder: Path, name: str, *, label: str = "image") -> Path:
        """Return `{name}.png`: the picture, upright, in RGB and completely decoded once, as write_clean_png does it."""
        target = folder / f"{name}.png"
        with _labelled(label, source.field), _temporary(folder / f"{name}.part") as part:
            await self._bring(source, part, self._limits.image_bytes)
            await self._decoders.clean_png(part, target, max_pixels=self._limits.image_pixels)
        return target

    async def picture(self, source: Source, folder: Path, name: str, *, label: str = "image") -> Path:
        """Return `{name}` with the suffix of its content: the picture as it arrived, with its transparency, checked."""
        decoded = folder / f"{name}-decoded.png"
        with _labelled(label, source.field), _temporary(folder / f"{name}.part") as part, _temporary(decoded):
            await self._bring(source, part, self._limits.image_bytes)
            await self._decoders.clean_png(part, decoded, max_pixels=self._limits.image_pixels)
            file_type = sniff(_head(part))
            return part.replace(folder / f"{name}{file_type.suffix if file_type else '.png'}")

    async def audio(self, source: Source, folder: Path, name: str, *, label: str = "audio") -> Path:
        """Return `{name}` with the suffix of its content: a sound, or a film with one, as it arrived."""
        return await self._recording(source, folder / name, "sound", self._limits.audio_bytes, label)

    async def video(self, source: Source, folder: Path, name: str, *, label: str = "video") -> Path:
        """Return `{name}` with the suffix of its content: a film or an animated GIF, as it arrived."""
        return await self._recording(source, folder / name, "film", self._limits.video_bytes, label)

    async def document(self, source: Source, folder: Path, name: str, *, label: str = "document") -> Path:
        """Return `{name}`: a text file, such as a workflow, as it arrived. Its content is not checked."""
        with _labelled(label, source.field), _temporary(folder / f"{name}.part") as part:
            await self._bring(source, part, self._limits.document_bytes)
            return part.replace(folder / name)

    def directory(self, value: str, *, label: str = "folder", field: str | None = None) -> Path:
        """Return the folder below the roots that *value* names. It is not copied."""
        with _labelled(label, field):
            _check_kind(value, "path")
            return directory_below(value.strip(), self._roots)

    async def _recording(
        self, source: Source, stem: Path, kind: Literal["sound", "film"], max_bytes: int, label: str
    ) -> Path:
        with _labelled(label, source.field), _temporary(stem.with_name(f"{stem.name}.part")) as part:
            await self._bring(source, part, max_bytes)
            file_type = _type_of(part, kind)
            await require_stream(part, kind, reader=file_type.reader, timeout_s=self._limits.open_timeout_s)
            return part.replace(stem.with_name(stem.name + file_type.suffix))

    async def _bring(self, source: Source, part: Path, max_bytes: int) -> None:
        """
        Write the file that *source* names to *part*. A data URI is accepted in any field, because people send it as a
        URL.
        """
        is_data = data_uri.is_data_url(source.value)
        if not is_data:
            _check_kind(source.value, source.kind)
        if source.kind == "base64" or is_data:
            await in_thread(_write_decoded, source.value, part, max_bytes)
        elif source.kind == "url":
            limits = FetchLimits(max_bytes, self._limits.fetch_timeout_s)
            await fetch(source.value, part, limits=limits, allow_hosts=self._allow_hosts, network=self._network)
        else:
            await in_thread(copy_file, file_below(source.value, self._roots), part, max_bytes=max_bytes)


def _check_kind(value: str, kind: Literal["url", "base64", "path"]) -> None:
    """Raise InputUnavailable or InputRefused for a value that looks like another kind of source."""
    if found := mixed_up(value, kind):
        raise (InputUnavailable if kind == "base64" else InputRefused)(found[0], hint=found[1])


@contextmanager
def _labelled(label: str, field: str | None) -> Iterator[None]:
    """Begin the message of a RequestError with the input's name, and set its field."""
    try:
        yield
    except RequestError as error:
        raise type(error)(f"{label}: {error}", hint=error.hint, field=error.field or field) from error


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _write_decoded(text: str, part: Path, max_bytes: int) -> None:
    content = data_uri.decode(text, max_bytes=max_bytes)
    with new_file(part):
        part.write_bytes(content)


def _type_of(path: Path, kind: Literal["sound", "film"]) -> FileType:
    """Return the type of the content. Raises InputUnavailable if it cannot be used as *kind*."""
    head = _head(path)
    file_type = sniff(head)
    if file_type is None or not serves_as(file_type, kind):
        wanted = (
            "a sound (WAV, MP3, FLAC, Ogg, M4A, AAC)" if kind == "sound" else "a video (MP4, WebM, MOV, MKV, AVI, GIF)"
        )
        raise InputUnavailable(f"it looks like {describe(head)}, not {wanted}.")
    return file_type


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)
