"""What counts as a complete transfer, and what becomes of its file; the server is played by hand."""

from __future__ import annotations

import asyncio
import gc
import logging
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from wanworker.rest.http.connection import STATE_KEY, Connection
from wanworker.rest.http.errors import Gone
from wanworker.rest.responses.download import Downloads, WatchedFile

CHUNK_BYTES = 65_536
PATIENCE_S = 10


class Client:
    """The other end: it keeps what it was sent, and leaves while it is sent message number *leaves_at* (from 1)."""

    def __init__(self, leaves_at: int = 0) -> None:
        self.sent: list[Any] = []
        self.listener: asyncio.Task[Any] | None = None
        self._leaves_at = leaves_at
        self._asked = asyncio.Event()
        self._left = asyncio.Event()

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    async def receive(self) -> Any:
        if not self._asked.is_set():
            self.listener = asyncio.current_task()
            self._asked.set()
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)
        if len(self.sent) == self._leaves_at:
            await self.leave()

    async def leave(self) -> None:
        """Leave, and return once the server has noticed."""
        await self._asked.wait()
        self._left.set()
        assert self.listener is not None
        await asyncio.wait({self.listener})


class Stuck(Client):
    """A client that takes no more once it has left."""

    async def leave(self) -> None:
        await super().leave()
        await asyncio.Event().wait()


def scope(method: str = "GET", *, asgi: str = "2.4", state: Any = None, **headers: str) -> dict[str, Any]:
    """Describe a request; a server of spec 2.4 hears of a client that left by an error of its own."""
    return {
        "type": "http",
        "method": method,
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "asgi": {"spec_version": asgi},
        "state": state or {},
    }


def video(folder: Path, size_bytes: int = 10) -> Path:
    path = folder / "job-1.mp4"
    path.write_bytes(b"x" * size_bytes)
    return path


async def ends_of(response: WatchedFile, client: Client, ends: list[int], **asked: Any) -> list[int]:
    async with asyncio.timeout(PATIENCE_S):
        await response(scope(**asked), client.receive, client.send)
    return ends


def watched(path: Path, client: Client) -> tuple[WatchedFile, list[int]]:
    """Return the response, and a list that gets the number of messages sent when it calls itself complete."""
    ends: list[int] = []
    return WatchedFile(path, filename="video", on_complete=lambda: ends.append(len(client.sent))), ends


@pytest.mark.parametrize("size_bytes", [1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES])
async def test_a_whole_transfer_is_complete_once_and_with_its_last_byte(tmp_path: Path, size_bytes: int) -> None:
    client = Client()
    response, ends = watched(video(tmp_path, size_bytes), client)

    assert await ends_of(response, client, ends) == [len(client.sent)]
    assert len(client.body) == size_bytes


async def test_the_answer_is_a_video_to_be_saved_and_not_to_be_kept_by_a_proxy(tmp_path: Path) -> None:
    response, _ = watched(video(tmp_path), Client())

    assert response.headers["content-type"] == "video/mp4"
    assert response.headers["content-disposition"] == 'attachment; filename="video"'
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("asked", [{"range": "bytes=0-"}, {"range": "bytes=0-3"}, {"method": "HEAD"}])
async def test_a_range_and_a_head_are_no_whole_transfer(tmp_path: Path, asked: dict[str, str]) -> None:
    client = Client()
    response, ends = watched(video(tmp_path), client)

    assert await ends_of(response, client, ends, **asked) == []


async def test_a_file_that_became_shorter_is_no_whole_transfer(tmp_path: Path) -> None:
    client, path = Client(), video(tmp_path, 3 * CHUNK_BYTES)
    response, ends = watched(path, client)
    path.write_bytes(b"x" * (2 * CHUNK_BYTES))

    assert await ends_of(response, client, ends) == []


@pytest.mark.parametrize(("leaves_at", "expected"), [(1, []), (2, []), (3, []), (4, [4])])
async def test_a_client_that_left_before_the_last_part_did_not_get_it(
    tmp_path: Path, leaves_at: int, expected: list[int]
) -> None:
    """Of four messages; whether one that left during the last had it all, its connection tells later."""
    client = Client(leaves_at)
    response, ends = watched(video(tmp_path, 2 * CHUNK_BYTES + 5), client)

    assert await ends_of(response, client, ends) == expected


async def test_a_client_that_leaves_and_takes_no_more_holds_nothing_up(tmp_path: Path) -> None:
    client = Stuck(leaves_at=2)
    response, ends = watched(video(tmp_path, 2 * CHUNK_BYTES), client)

    assert await ends_of(response, client, ends, asgi="2.3") == []
    assert len(client.sent) == 2


async def test_nobody_listens_to_the_client_after_the_transfer(tmp_path: Path) -> None:
    client = Client()
    response, ends = watched(video(tmp_path, CHUNK_BYTES), client)
    await ends_of(response, client, ends)
    await settled()

    assert client.listener is not None
    assert client.listener.cancelled()


async def settled() -> None:
    """Wait until nothing else is under way in this loop."""
    async with asyncio.timeout(PATIENCE_S):
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others)


class Shelf:
    """What a download asks of the jobs: where the video is, and to count it as taken, or as not taken after all."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.said: list[str] = []

    async def video(self, request_id: str, number: int | None = None) -> Path:
        assert number is None
        return self.path.with_name(f"{request_id}.mp4")

    def mark_downloaded(self, request_id: str) -> None:
        self.said.append(f"take {request_id}")

    def unmark_downloaded(self, request_id: str) -> None:
        self.said.append(f"untake {request_id}")


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(video(tmp_path))


def over(shelf: Shelf, grace_s: float = 1e6, *, once: bool = True) -> Downloads:
    return Downloads(shelf, once=once, grace_s=grace_s)  # type: ignore[arg-type]


async def fetch(downloads: Downloads, connection: Connection | None = None) -> WatchedFile:
    asked = scope(state={STATE_KEY: connection} if connection else {})
    response = await downloads.respond(Request(asked), "job-1")
    client = Client()
    await response(asked, client.receive, client.send)
    assert isinstance(response, WatchedFile)
    return response


async def test_the_file_is_removed_when_its_connection_has_ended_in_order(shelf: Shelf) -> None:
    connection = Connection()
    response = await fetch(over(shelf), connection)
    was_there = shelf.path.exists()
    connection.ended(in_order=True)
    await settled()

    assert response.headers["content-disposition"] == 'attachment; filename="video_job-1.mp4"'
    assert (was_there, shelf.path.exists(), shelf.said) == (True, False, ["take job-1"])


async def test_the_file_is_given_back_when_its_connection_broke_and_may_be_fetched_again(
    shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    downloads, connection = over(shelf), Connection()
    caplog.set_level(logging.INFO)
    await fetch(downloads, connection)
    connection.ended(in_order=False)
    await settled()
    assert (shelf.path.exists(), shelf.said) == (True, ["take job-1", "untake job-1"])
    assert "the transfer of job job-1 broke off: its video stays" in caplog.messages

    again = Connection()
    await fetch(downloads, again)
    again.ended(in_order=True)
    await settled()

    assert (shelf.path.exists(), shelf.said[2:]) == (False, ["take job-1"])


async def test_without_a_connection_to_ask_the_file_is_removed_at_once(shelf: Shelf) -> None:
    await fetch(over(shelf))
    await settled()

    assert (shelf.path.exists(), shelf.said) == (False, ["take job-1"])


async def test_a_video_that_may_be_fetched_often_stays(shelf: Shelf) -> None:
    await fetch(over(shelf, once=False))
    await settled()

    assert (shelf.path.exists(), shelf.said) == (True, [])


async def test_a_connection_that_stays_open_past_the_grace_counts_as_content(shelf: Shelf) -> None:
    connection = Connection()
    await fetch(over(shelf, grace_s=0.0), connection)
    await settled()
    assert (shelf.path.exists(), shelf.said) == (False, ["take job-1"])

    connection.ended(in_order=False)

    assert shelf.said == ["take job-1"]


async def test_two_that_fetch_it_at_once_take_it_once(shelf: Shelf) -> None:
    downloads, connections = over(shelf), [Connection(), Connection()]
    for connection in connections:
        await fetch(downloads, connection)
    for connection in connections:
        connection.ended(in_order=True)
    await settled()

    assert (shelf.path.exists(), shelf.said) == (False, ["take job-1"])


async def test_at_the_end_of_the_server_what_was_fetched_is_removed_before_it_is_closed(shelf: Shelf) -> None:
    downloads = over(shelf)
    await fetch(downloads, Connection())

    await downloads.close()

    assert not shelf.path.exists()


async def test_a_file_that_somebody_else_removed_meanwhile_is_no_fault(shelf: Shelf) -> None:
    faults: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: faults.append(context))
    connection = Connection()
    await fetch(over(shelf), connection)
    shelf.path.unlink()
    connection.ended(in_order=True)
    await settled()
    gc.collect()

    assert faults == []


async def test_a_file_that_goes_before_it_is_opened_is_gone(shelf: Shelf) -> None:
    shelf.path.unlink()

    with pytest.raises(Gone, match="job job-1"):
        await fetch(over(shelf))
