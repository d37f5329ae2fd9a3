"""Webhooks: what is sent, how it is signed, when it is sent again, and where it never goes."""

import asyncio
import base64
import hashlib
import hmac
import json

import pytest

from fakes.webhook_receiver import Receiver
from wanworker.errors import EngineFailed
from wanworker.rest.service.webhooks import Network, Webhooks

STATUS = {"job_id": "abc", "status": "completed", "progress": 100}


def hooks(waits=None, **changes):
    async def sleep(seconds):
        if waits is not None:
            waits.append(seconds)

    network = changes.pop("network", Network(sleep=sleep, clock=lambda: 1_700_000_000.0))
    return Webhooks(**{"secret": None, "allow_hosts": ("127.0.0.1",), "network": network, **changes})


async def test_a_message_says_what_became_of_the_job():
    async with Receiver() as receiver:
        taken = await hooks().deliver(receiver.url, STATUS)
        headers, body = receiver.received[0]

    assert taken
    assert {"type": "job.completed", "timestamp": "2023-11-14T22:13:20+00:00", "data": STATUS} == json.loads(body)
    assert ("msg_abc", "1700000000") == (headers["webhook-id"], headers["webhook-timestamp"])
    assert "webhook-signature" not in headers


@pytest.mark.parametrize(
    ("secret", "key"), [("plain text", b"plain text"), (f"whsec_{base64.b64encode(b'0123').decode()}", b"0123")]
)
async def test_a_signature_is_standard_webhooks(secret, key):
    async with Receiver() as receiver:
        await hooks(secret=secret).deliver(receiver.url, STATUS)
        headers, body = receiver.received[0]

    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert f"v1,{expected}" == headers["webhook-signature"]


async def test_it_is_sent_again_under_the_same_id_until_it_is_taken():
    waits = []
    async with Receiver([500, 302]) as receiver:
        taken = await hooks(waits).deliver(receiver.url, STATUS)

    assert taken
    assert {"msg_abc"} == {headers["webhook-id"] for headers, _ in receiver.received}
    assert [2.0, 10.0] == waits


async def test_it_is_given_up_after_the_last_wait():
    async with Receiver([503] * 9) as receiver:
        taken = await hooks(back_off_s=(1, 2)).deliver(receiver.url, STATUS)

    assert not taken
    assert 3 == len(receiver.received)


async def test_gone_ends_it_at_once():
    async with Receiver([410]) as receiver:
        assert not await hooks().deliver(receiver.url, STATUS)

    assert 1 == len(receiver.received)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "169.254.169.254", "2130706433"])
async def test_a_private_address_is_never_connected_to(host):
    async with Receiver() as receiver:
        taken = await hooks(allow_hosts=()).deliver(f"http://{host}:{receiver.port}/", STATUS)

    assert not taken
    assert [] == receiver.received


async def test_the_connection_goes_to_the_address_that_was_checked():
    async def resolve(host, _port):
        return ("127.0.0.1",)

    async with Receiver() as receiver:
        network = Network(resolve=resolve)
        taken = await hooks(network=network).deliver(f"http://hooks.example:{receiver.port}/", STATUS)
        headers, _ = receiver.received[0]

    assert taken
    assert f"hooks.example:{receiver.port}" == headers["Host"]


async def test_a_finished_and_a_failed_job_call_and_nothing_is_kept_afterwards(serve):
    async with Receiver() as receiver, serve(allow_hosts=("127.0.0.1",), webhook_secret="s") as rest:

        async def fail(_spec, _path, _report):
            raise EngineFailed("The engine fell over.")

        bodies = []
        for act in (None, fail):
            rest.engine.act = act
            receiver.came.clear()
            await rest.generate(webhook_url=receiver.url)
            async with asyncio.timeout(10):
                await receiver.came.wait()
            bodies.append(json.loads(receiver.received[-1][1]))
        await rest.until_nothing_is_kept()

    assert ["job.completed", "job.failed"] == [body["type"] for body in bodies]
    assert "The engine fell over." == bodies[1]["data"]["error"]
    assert all("webhook-signature" in headers for headers, _ in receiver.received)
    records = [path.read_text() for path in rest.worker.settings.jobs_dir.rglob("*.json")]
    assert 2 == len(records)
    assert not any("token=secret" in text for text in records)


async def test_a_large_body_has_more_time_and_is_sent_in_pieces(recwarn):
    body = b"7" * 5_000_000
    async with Receiver() as receiver:
        # A thousandth of a second would be too short for any of it, and 10 s are for its bytes.
        taken = await hooks(secret="s", patience_s=0.001).post(receiver.url, "abc", lambda: body, ())

    assert taken
    assert body == receiver.received[0][1]
    assert not [warning for warning in recwarn if "large body" in str(warning.message)]


async def test_a_body_is_made_at_its_turn_and_is_not_held_before():
    gate, all_came = asyncio.Event(), asyncio.Event()
    open_now, made = 0, []

    async def hold(reader, writer):
        nonlocal open_now
        open_now += 1
        if open_now == 8:
            all_came.set()
        await gate.wait()
        await reader.readuntil(b"{}")
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        writer.close()

    def body():
        made.append(1)
        return b"{}"

    async with await asyncio.start_server(hold, "127.0.0.1", 0) as server, asyncio.timeout(20):
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        webhooks = hooks()
        posts = [asyncio.create_task(webhooks.post(url, str(number), body, ())) for number in range(9)]
        await all_came.wait()
        held = len(made)
        gate.set()
        taken = await asyncio.gather(*posts)

    assert [True] * 9 == taken
    assert (8, 9) == (held, len(made))
