"""HTTP to the named place, against a server that answers from a list."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NoReturn

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver

from wanworker.client import Busy, ClientError, Refused, ResultLost, TargetFailed, Unauthorised, Unreachable
from wanworker.client.targets.http import Edges, Remote, base_url


class Clock:
    """Time that passes by sleeping only."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds

    def edges(self) -> Edges:
        return Edges(self.sleep, lambda: self.now_s, longest_gap_s=100.0)


class Scripted:
    """Answers from a list; None cuts the connection, and the last answer is given for ever."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, str, dict[str, str]] | None] = []
        self.asked: list[tuple[str, str, str | None]] = []
        self.clock = Clock()
        self.url = ""
        self.session: aiohttp.ClientSession | None = None

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append((request.method, request.path, request.headers.get("Authorization")))
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if found is None:
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        status, text, headers = found
        return web.Response(status=status, text=text, headers=headers)

    def remote(self, key: str = "secret", edges: Edges | None = None) -> Remote:
        assert self.session is not None
        return Remote(self.session, base_url(self.url), key=key, edges=edges or self.clock.edges())

    def frozen(self) -> Edges:
        """Return edges of a process that stands still for an hour while its first question is on its way."""
        return Edges(self.clock.sleep, lambda: 3600.0 if self.asked else 0.0)


@pytest.fixture
async def server() -> AsyncIterator[Scripted]:
    scripted = Scripted()
    app = web.Application()
    app.add_routes([web.route("*", "/{path:.*}", scripted.answer)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        scripted.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v2/abc"
        async with aiohttp.ClientSession() as scripted.session:
            yield scripted
    finally:
        await runner.cleanup()


async def test_the_key_goes_to_the_named_address(server: Scripted) -> None:
    server.answers = [(200, '{"id": "1"}', {})]

    job_id = await server.remote().post_job("run", {"input": {}}, id_field="id")

    assert "1" == job_id
    assert [("POST", "/v2/abc/run", "Bearer secret")] == server.asked


@pytest.mark.parametrize("answer", ['{"status": "IN_QUEUE"}', '{"id": ""}', '{"id": 7}', "[]", "hello"])
async def test_an_answer_without_the_jobs_id_is_told_as_such(server: Scripted, answer: str) -> None:
    server.answers = [(200, answer, {})]

    with pytest.raises(TargetFailed, match="has no id, which is the job's id: "):
        await server.remote().post_job("run", {}, id_field="id")


async def test_a_redirect_is_not_followed_for_it_would_take_the_key_along(server: Scripted) -> None:
    server.answers = [(302, "", {"Location": f"{server.url}/elsewhere"})]

    with pytest.raises(Refused, match="redirects to another address"):
        await server.remote().ask("GET", "status/1")

    assert 1 == len(server.asked)


async def test_without_a_key_none_is_sent(server: Scripted) -> None:
    server.answers = [(200, "{}", {})]

    await server.remote(key="").ask("GET", "status/1")

    assert [("GET", "/v2/abc/status/1", None)] == server.asked


async def test_a_question_outlasts_a_restart_of_the_server(server: Scripted) -> None:
    server.answers = [(502, "<html>", {}), (429, "", {"Retry-After": "7"}), (503, "", {}), (200, "{}", {})]

    assert 200 == (await server.remote().ask("GET", "status/1")).status
    assert [2.0, 7.0, 14.0] == server.clock.slept


async def test_a_server_that_stays_away_is_given_up_on(server: Scripted) -> None:
    server.answers = [None]

    with pytest.raises(Unreachable, match="has given no usable answer for 300 s: the connection broke off"):
        await server.remote().ask("GET", "status/1")

    assert 280 < server.clock.now_s <= 300


@pytest.mark.parametrize("question", ["ask", "download", "post_job"])
async def test_the_time_in_which_this_process_was_frozen_is_not_the_servers_silence(
    server: Scripted, tmp_path: Path, question: str
) -> None:
    server.answers = [(429, "", {}), (200, '{"id": "1"}', {})]
    remote = server.remote(edges=server.frozen())
    ways = {
        "ask": lambda: remote.ask("GET", "status/1"),
        "download": lambda: remote.download("download/1", tmp_path / "part"),
        "post_job": lambda: remote.post_job("run", {}, id_field="id"),
    }
    await ways[question]()

    assert 2 == len(server.asked)


async def test_a_server_that_takes_a_question_and_is_silent_is_given_up_on() -> None:
    edges = Edges(patience_s=0, quiet_s=0.01)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the system accepts, and nobody ever answers
        async with aiohttp.ClientSession() as session:
            url = base_url(f"http://127.0.0.1:{silent.getsockname()[1]}")
            with pytest.raises(Unreachable, match="no usable answer for 0 s: no answer in time"):
                await Remote(session, url, key="", edges=edges).ask("GET", "jobs")


async def test_a_page_of_another_program_is_no_missing_job(server: Scripted) -> None:
    server.answers = [(404, "<!doctype html><p>Nothing here", {})]

    with pytest.raises(Refused, match="answers 404: a web page, not JSON") as told:
        await server.remote().ask("GET", "status/x", may_miss=True)

    assert "another program" in told.value.hint


async def test_a_job_is_not_sent_twice_when_nobody_knows_whether_it_arrived(server: Scripted) -> None:
    server.answers = [None, (200, '{"id": "1"}', {})]

    with pytest.raises(Unreachable, match="cannot be reached"):
        await server.remote().post_job("run", {}, id_field="id")

    assert 1 == len(server.asked)


async def test_a_full_queue_is_waited_for_as_long_as_it_says(server: Scripted) -> None:
    server.answers = [(429, "", {"Retry-After": "30"}), (200, '{"id": "1"}', {})]

    await server.remote().post_job("run", {}, id_field="id")

    assert [30.0] == server.clock.slept


async def test_a_queue_that_stays_full_is_given_up_on(server: Scripted) -> None:
    server.answers = [(429, '{"error": "The queue is full."}', {"Retry-After": "60"})]

    with pytest.raises(Busy, match=r"answers 429: The queue is full\."):
        await server.remote().post_job("run", {}, id_field="id")

    assert 5 == len(server.clock.slept)


@pytest.mark.parametrize(
    ("status", "text", "kind", "expected"),
    [
        (401, "", Unauthorised, "refuses the key"),
        (422, '{"detail": [{"loc": ["body", "fps"], "msg": "too many"}]}', Refused, "answers 422: fps: too many"),
        (404, '{"error": "no such endpoint"}', Refused, "answers 404: no such endpoint"),
        (418, "a teapot", TargetFailed, "answers 418: a teapot"),
    ],
)
async def test_a_refusal_is_told_in_the_servers_words(
    server: Scripted, status: int, text: str, kind: type[ClientError], expected: str
) -> None:
    server.answers = [(status, text, {})]

    with pytest.raises(kind, match=expected) as caught:
        await server.remote().post_job("run", {}, id_field="id")

    assert "secret" not in f"{caught.value}{caught.value.hint}"


async def test_a_server_where_nobody_listens_is_unreachable(server: Scripted) -> None:
    server.url = "http://127.0.0.1:1"

    with pytest.raises(Unreachable, match=r"http://127\.0\.0\.1:1 cannot be reached: no connection"):
        await server.remote().post_job("run", {}, id_field="id")


class Names(AbstractResolver):
    """Answers for no name, with the error that it was given."""

    def __init__(self, error: OSError) -> None:
        self._error = error

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> NoReturn:
        raise self._error

    async def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
        (socket.gaierror(8, "nodename nor servname provided"), "nodename nor servname provided"),
        (OSError(errno.ENETDOWN, "Connect call failed ('10.0.0.1', 80)"), os.strerror(errno.ENETDOWN)),
        (OSError(None, "no such name"), "no such name"),
        (OSError("Multiple exceptions"), "unreachable"),
    ],
)
async def test_a_name_that_leads_nowhere_is_told_in_the_systems_words(error: OSError, words: str) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=Names(error))) as session:
        with pytest.raises(Unreachable) as caught:
            await Remote(session, base_url("http://host.test/v2"), key="").post("run", {})

    assert str(caught.value) == f"http://host.test/v2 cannot be reached: no connection ({words})."


async def test_a_server_without_tls_is_told_as_such(server: Scripted) -> None:
    server.url = server.url.replace("http://", "https://")

    with pytest.raises(Unreachable, match=r"no connection \(\[SSL"):
        await server.remote().post("run", {})


async def test_a_refused_download_writes_nothing(server: Scripted, tmp_path: Path) -> None:
    server.answers = [(410, '{"error": "It was downloaded."}', {})]

    with pytest.raises(Refused, match=r"410: It was downloaded\."):
        await server.remote().download("download/1", tmp_path / "part")

    assert [] == list(tmp_path.iterdir())


class Cutting:
    """A file server that cuts its first transfer in the middle; the file may change meanwhile."""

    def __init__(self, *, changes: bool = False) -> None:
        self.asked: list[str | None] = []
        self._changes = changes

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.headers.get("Range"))
        if len(self.asked) == 1:
            response = web.StreamResponse(headers={"Content-Length": "10", "ETag": '"one"'})
            await response.prepare(request)
            await response.write(b"01234")
            assert request.transport is not None
            request.transport.close()
            return response
        if self._changes or request.headers.get("If-Range") != '"one"':
            return web.Response(body=b"abcdef", headers={"ETag": '"two"'})
        return web.Response(status=206, body=b"56789", headers={"Content-Range": "bytes 5-9/10"})


@pytest.mark.parametrize(("changes", "expected"), [(False, b"0123456789"), (True, b"abcdef")])
async def test_a_transfer_that_breaks_off_goes_on_where_it_was(tmp_path: Path, changes: bool, expected: bytes) -> None:
    cutting, app = Cutting(changes=changes), web.Application()
    app.add_routes([web.get("/file", cutting.answer)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = base_url(f"http://127.0.0.1:{runner.addresses[0][1]}")
        async with aiohttp.ClientSession() as session:
            await Remote(session, url, key="", edges=Clock().edges()).download("file", tmp_path / "part")
    finally:
        await runner.cleanup()

    assert expected == (tmp_path / "part").read_bytes()
    assert [None, "bytes=5-"] == cutting.asked


async def test_a_transfer_that_never_gets_on_is_given_up(server: Scripted, tmp_path: Path) -> None:
    server.answers = [None]

    with pytest.raises(ResultLost, match="could not be downloaded") as caught:
        await server.remote().download("download/1", tmp_path / "part")

    assert "DOWNLOAD_FAILED" == caught.value.code
    assert 280 < server.clock.now_s <= 300


@pytest.mark.parametrize("text", ["", "abc", "ftp://host", "http://", "http://[", "http://me:key@host"])
def test_an_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Refused) as caught:
        base_url(text)

    assert "key@" not in str(caught.value)


def test_a_slash_at_the_end_is_no_part_of_the_address() -> None:
    assert "http://host:1/v2/abc" == str(base_url("http://host:1/v2/abc/"))
