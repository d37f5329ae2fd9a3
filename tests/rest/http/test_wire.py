"""Clients that send too much, too slowly or nothing at all, over real sockets and with short limits."""

import asyncio
import contextlib
import json
from urllib.parse import urlsplit

import aiohttp
import pytest

from wanworker.rest.http.limits import Limits

KEY = "correct horse"
SHORT = Limits(
    head_s=0.2, body_s=0.2, body_rate=1_000_000, send_s=0.2, linger_s=0.2, connections=8, spare_connections=4
)
PING = b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n"
LAST_PING = PING.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
GENERATE = b"POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@contextlib.asynccontextmanager
async def connected(rest):
    reader, writer = await asyncio.open_connection(urlsplit(rest.url).hostname, urlsplit(rest.url).port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def said(rest, *pieces):
    """Send the pieces, one by one, and return all that the server says until it closes."""
    async with connected(rest) as (reader, writer), asyncio.timeout(20):
        for piece in pieces:
            writer.write(piece)
            with contextlib.suppress(ConnectionError):
                await writer.drain()
        return await reader.read()


def one(answer):
    """Return (status, code) of an answer, and check its form."""
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert b"connection: close" in lines, answer[:400]
    assert f"content-length: {len(body)}".encode() in lines
    told = json.loads(body)
    assert {"error", "detail", "code", "hint"} <= set(told)
    return int(head.split()[1]), told["code"]


async def test_an_endless_head_is_431(rest):
    async def flood(line):
        return one(await said(rest, b"GET /ping HTTP/1.1\r\nHost: localhost\r\n", *[line] * 60))

    assert (431, "HEADERS_TOO_LARGE") == await flood(b"X: " + b"a" * 1000 + b"\r\n")
    assert (431, "HEADERS_TOO_LARGE") == await flood(b"X: y\r\n" * 2)
    assert (431, "HEADERS_TOO_LARGE") == await flood(b"a" * 1000)
    assert (431, "HEADERS_TOO_LARGE") == one(await said(rest, b"GET /" + b"a" * 100_000))
    assert (431, "HEADERS_TOO_LARGE") == one(await said(rest, b"\r\n" * 50_000))


async def test_an_ordinary_browsers_head_passes(rest):
    cookies = b"".join(b"X-%d: %s\r\n" % (number, b"c" * 300) for number in range(60))

    assert b" 200 " in await said(
        rest, b"GET /ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + cookies + b"\r\n"
    )


async def test_half_a_head_is_408_and_silence_is_closed(serve):
    async with serve(limits=SHORT) as rest:
        assert (408, "REQUEST_TIMEOUT") == one(await said(rest, PING[:-2]))
        assert (408, "REQUEST_TIMEOUT") == one(await said(rest, b"\r\n"))
        assert b"" == await said(rest)


async def test_a_byte_now_and_then_does_not_move_the_deadline(serve):
    async with serve(limits=SHORT) as rest, connected(rest) as (reader, writer), asyncio.timeout(10):
        answer = asyncio.create_task(reader.read())
        writer.write(b"GET /ping HTTP/1.1\r\nX: ")
        while not answer.done():
            writer.write(b"y")
            await asyncio.wait([answer], timeout=0.02)

        assert (408, "REQUEST_TIMEOUT") == one(answer.result())


async def test_a_second_heads_time_begins_with_its_first_byte(serve):
    async with serve(limits=SHORT) as rest:
        first, second = (await said(rest, PING, PING[:-2])).split(b"HTTP/1.1")[1:]

        assert first.startswith(b" 200")
        assert (408, "REQUEST_TIMEOUT") == one(b"HTTP/1.1" + second)


@pytest.mark.parametrize(
    "body", [b"Content-Length: 40000000\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\n5\r\n{    \r\n"]
)
async def test_a_body_that_stalls_is_408(serve, body):
    async with serve(limits=SHORT) as rest:
        assert (408, "REQUEST_TIMEOUT") == one(await said(rest, GENERATE + body))


async def test_a_form_that_stalls_is_408_too(serve):
    head = GENERATE.replace(b"application/json", b"multipart/form-data; boundary=x")
    async with serve(limits=SHORT) as rest:
        assert (408, "REQUEST_TIMEOUT") == one(await said(rest, head + b"Content-Length: 90\r\n\r\n--x\r\n"))


async def test_a_chunked_body_without_end_is_413(serve):
    async with serve(limits=Limits(body_bytes=1_000_000)) as rest:
        chunk = b"186A0\r\n" + b" " * 100_000 + b"\r\n"

        answer = await said(rest, GENERATE + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 11)
        assert (413, "TOO_LARGE") == one(answer)


async def test_trailers_without_end_are_cut(serve):
    async with serve(limits=SHORT) as rest:
        head = GENERATE + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: "

        assert (431, "HEADERS_TOO_LARGE") == one(await said(rest, head, *[b"a" * 10_000] * 10))


async def test_nonsense_in_a_body_is_400_and_quiet(rest, caplog):
    answer = await said(rest, GENERATE + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n")

    assert (400, "BAD_REQUEST") == one(answer)
    assert "Traceback" not in caplog.text


async def test_a_client_that_leaves_in_mid_body_is_no_failure_of_ours(rest, caplog):
    async with connected(rest) as (_reader, writer):
        writer.write(GENERATE + b"Content-Length: 1000\r\n\r\n{")
        await writer.drain()
        while not await rest.ask("GET", "/jobs"):
            pass
    await rest.ask("GET", "/jobs")

    assert "Traceback" not in caplog.text
    assert "Exception in ASGI" not in caplog.text


async def test_without_the_key_the_answer_comes_before_the_body(serve):
    async with serve(api_key=KEY) as rest:
        assert (401, "UNAUTHORIZED") == one(await said(rest, GENERATE + b"Content-Length: 40000000\r\n\r\n{"))
        body = [b" " * 100_000] * 100
        assert (401, "UNAUTHORIZED") == one(await said(rest, GENERATE + b"Content-Length: 10000001\r\n\r\n", *body))


async def test_what_is_no_http_is_400(rest):
    assert (400, "BAD_REQUEST") == one(await said(rest, b"\x16\x03\x01\x02\x00\x01\x00 this is TLS\r\n\r\n"))
    assert (400, "BAD_REQUEST") == one(await said(rest, b"CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n"))


async def test_pipelined_requests_are_answered_in_turn(rest):
    answers = await said(rest, PING * 5 + LAST_PING)

    assert 6 == answers.count(b"HTTP/1.1 200 ")


async def test_too_many_pipelined_ones_end_the_connection_after_those_that_were_taken(rest):
    answers = await said(rest, PING * 3000)

    assert 2 <= answers.count(b"HTTP/1.1 200 ") <= 10
    assert answers.count(b"HTTP/1.1 ") == answers.count(b"HTTP/1.1 200 ")


async def test_nonsense_behind_a_request_does_not_spoil_its_answer(rest):
    answers = await said(rest, PING + b"nonsense\r\n\r\n")

    assert [b"HTTP/1.1 200"] == [line[:12] for line in answers.split(b"\r\n") if line.startswith(b"HTTP")]


async def test_a_request_for_another_protocol_is_answered_in_this_one(rest):
    upgrade = LAST_PING.replace(b"Connection: close", b"Connection: Upgrade\r\nUpgrade: h2c")
    websocket = LAST_PING.replace(b"Connection: close", b"Connection: Upgrade\r\nUpgrade: websocket")

    assert (await said(rest, upgrade)).startswith(b"HTTP/1.1 200 ")
    assert (await said(rest, websocket)).startswith(b"HTTP/1.1 200 ")


async def test_the_body_of_a_get_is_not_kept(serve):
    async with serve(limits=Limits(body_bytes=100_000)) as rest:
        head = b"GET /ping HTTP/1.1\r\nHost: localhost\r\nContent-Length: "

        assert b" 200 " in await said(rest, head + b"5\r\n\r\nhello" + LAST_PING)
        assert (await said(rest, head + b"10\r\n\r\nhello")).count(b"connection: close") == 1


async def test_half_requests_give_their_places_to_whole_ones(serve):
    async with serve(limits=Limits(connections=8, spare_connections=4)) as rest, contextlib.AsyncExitStack() as stack:
        readers = []
        for _ in range(40):
            reader, writer = await stack.enter_async_context(connected(rest))
            writer.write(PING[:20])
            readers.append(reader)

        assert 200 == (await rest.ask("GET", "/ping"))[0]
        assert 200 == (await rest.ask("GET", "/jobs"))[0]
        async with asyncio.timeout(10):
            assert (503, "SERVER_BUSY") == one(await readers[0].read())


async def test_when_all_are_busy_the_probes_are_answered_and_nobody_else(serve):
    async def hang(_spec, _path, _report):
        await asyncio.Event().wait()

    async with serve(limits=Limits(connections=3, spare_connections=2)) as rest, contextlib.AsyncExitStack() as stack:
        rest.engine.act = hang
        job_id = await rest.generate()
        await rest.session.close()
        rest.session = await stack.enter_async_context(aiohttp.ClientSession())
        for _ in range(3):
            reader, writer = await stack.enter_async_context(connected(rest))
            writer.write(b"GET /events/%s HTTP/1.1\r\nHost: localhost\r\n\r\n" % job_id.encode())
            async with asyncio.timeout(10):
                await reader.readline()

        assert b" 200 " in await said(rest, LAST_PING)
        assert (503, "SERVER_BUSY") == one(await said(rest, LAST_PING.replace(b"/ping", b"/jobs")))
        assert b" 200 " in await said(rest, LAST_PING.replace(b"/ping", b"/ready?x=1"))


async def test_who_reads_nothing_is_cut_off_and_the_video_stays(serve):
    async with serve(limits=SHORT) as rest, asyncio.timeout(20):
        job_id = await rest.generate()
        await rest.until(job_id)
        with (rest.worker.settings.out_dir / f"{job_id}.mp4").open("ab") as file:
            file.truncate(50_000_000)
        async with connected(rest) as (_reader, writer):
            writer.transport.pause_reading()
            writer.write(b"GET /download/%s HTTP/1.1\r\nHost: localhost\r\n\r\n" % job_id.encode())
            with contextlib.suppress(ConnectionError):
                while True:  # what is written behind the request tells when the server has gone
                    writer.write(b"\r\n")
                    await writer.drain()
                    await asyncio.sleep(0.02)

        assert (await rest.status(job_id))["video_ready"]
