"""Download one file of a ComfyUI server to disk in small pieces. A partial file never stays."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator
from pathlib import Path

from wanworker.comfyui.client.connection import Connection, ServerRefused
from wanworker.comfyui.client.history import OutputFile
from wanworker.errors import DiskFull, EngineFailed, EngineUnavailable, NoOutput

#: This much is gathered and then written in a thread, so that a network volume does not block the event loop.
_PIECE_BYTES = 1 << 20
_ATTEMPTS = 3

#: The largest file, far above any video. A server that never stops sending must not fill the volume.
_LARGEST_BYTES = 16 * 1024**3


async def download(
    connection: Connection, file: OutputFile, target: Path, *, largest_bytes: int = _LARGEST_BYTES
) -> int:
    """
    Write *file* to *target* and return its size in bytes. Until it is complete it is a `.part` file beside *target*.

    A broken transfer is tried three times in all. Raises NoOutput if the server no longer has the file, EngineFailed
    for a file over *largest_bytes*, EngineUnavailable and DiskFull.
    """
    part = target.with_name(f"{target.name}.part")
    try:
        size = await _with_attempts(connection, file, part, largest_bytes)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return size


async def _with_attempts(connection: Connection, file: OutputFile, part: Path, largest_bytes: int) -> int:
    for _ in range(_ATTEMPTS - 1):
        try:
            return await _once(connection, file, part, largest_bytes)
        except EngineUnavailable:
            continue
    return await _once(connection, file, part, largest_bytes)


async def _once(connection: Connection, file: OutputFile, part: Path, largest_bytes: int) -> int:
    query = {"filename": file.filename, "subfolder": file.subfolder, "type": file.type}
    try:
        async with connection.request("GET", "/view", query=query, timeout=connection.transfer()) as response:
            return await _write(response.content.iter_any(), part, largest_bytes)
    except ServerRefused as error:
        if error.answered not in {400, 403, 404}:
            raise
        message = f"The ComfyUI server names {file.filename!r} as an output, but does not have it."
        raise NoOutput(message, hint="A cached run names files that were deleted since; run it again.") from error
    except OSError as error:
        if error.errno == errno.EROFS:
            raise DiskFull(f"Cannot write {file.filename!r}: the disk is read-only.") from error
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise DiskFull(f"No space left on the disk for {file.filename!r}.") from error


async def _write(chunks: AsyncIterator[bytes], part: Path, largest_bytes: int) -> int:
    size = 0
    with part.open("wb") as out:
        async for pieces in _gathered(chunks):
            await asyncio.to_thread(out.writelines, pieces)
            size += sum(map(len, pieces))
            if size > largest_bytes:
                raise EngineFailed(f"The ComfyUI server sends an output of more than {largest_bytes:,} bytes.")
    return size


async def _gathered(chunks: AsyncIterator[bytes]) -> AsyncIterator[list[bytes]]:
    """Gather small chunks without copying them, because each write costs a thread's turn."""
    gathered: list[bytes] = []
    size = 0
    async for chunk in chunks:
        gathered.append(chunk)
        size += len(chunk)
        if size >= _PIECE_BYTES:
            yield gathered
            gathered, size = [], 0
    if gathered:
        yield gathered
