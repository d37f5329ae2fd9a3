"""No door connects to a private address, however it is written and whatever the HTTP library makes of it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from wanworker.errors import InputRefused, InputUnavailable
from wanworker.media.inputs._fetch import FetchLimits, fetch
from wanworker.media.inputs.addresses import is_numeric
from wanworker.media.inputs.peer import PeerRefused, checked_peer
from wanworker.media.outputs.bucket import Bucket
from wanworker.media.outputs.upload import UploadFailed, upload
from wanworker.rest.service.webhooks import Webhooks

PRIVATE = (
    "127.0.0.1", "2130706433", "127.1", "0x7f.1", "0x7f000001", "0177.0.0.1", "017700000001", "127.0.0.1.",
    "localhost", "localhost.", "LOCALHOST", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::]", "0.0.0.0",
    "[fe80::1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "169.254.169.254", "10.0.0.1",
)  # fmt: skip


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[int, list[object]]]:
    """Listen on every address of this machine, and note who connects."""
    callers: list[object] = []

    async def note(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        callers.append(writer.get_extra_info("peername"))
        writer.close()

    server = await asyncio.start_server(note, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], callers


@pytest.mark.parametrize("host", PRIVATE)
async def test_no_door_connects_to_a_private_address(host: str, tmp_path: Path) -> None:
    video = tmp_path / "a.mp4"
    video.write_bytes(b"x")
    async with listening() as (port, callers):
        url = f"http://{host}:{port}"
        with pytest.raises((InputRefused, InputUnavailable)):
            await fetch(f"{url}/a.png", tmp_path / "a", limits=FetchLimits(1000, 10.0))
        config = {"accessId": "id", "accessSecret": "secret", "bucketName": "b", "endpointUrl": url}
        with pytest.raises(UploadFailed):
            await upload(Bucket.from_s3_config(config), video, "a.mp4", mime="video/mp4", sleep=no_time)
        assert not await Webhooks(secret=None, back_off_s=()).deliver(f"{url}/hook", {"job_id": "a", "status": "error"})

    assert [] == callers


async def no_time(_seconds: float) -> None:
    """Stand in for asyncio.sleep."""


async def test_a_socket_for_another_address_than_the_checked_ones_is_not_opened() -> None:
    # What aiohttp 3.13 does with `127.1`: it takes it for an address, and asks no resolver.
    async with listening() as (port, callers):
        connector = aiohttp.TCPConnector(socket_factory=checked_peer({"93.184.215.14"}.__contains__))
        async with aiohttp.ClientSession(connector=connector) as session:
            with pytest.raises(aiohttp.ClientConnectorError) as caught:
                await session.get(f"http://127.0.0.1:{port}/")

    assert [] == callers
    assert isinstance(caught.value.os_error, PeerRefused)


@pytest.mark.parametrize("peer", ["127.1", "2130706433"])
def test_an_address_that_is_not_written_out_is_no_checked_one(peer: str) -> None:
    with pytest.raises(PeerRefused):
        checked_peer({"127.0.0.1"}.__contains__)((socket.AF_INET, socket.SOCK_STREAM, 0, "", (peer, 80)))


@pytest.mark.parametrize(("host", "numeric"), [(host.strip("[]"), "local" not in host.lower()) for host in PRIVATE])
def test_numbers_are_told_from_names(host: str, numeric: bool) -> None:
    assert numeric == is_numeric(host)
    assert not is_numeric("1.example.com")
