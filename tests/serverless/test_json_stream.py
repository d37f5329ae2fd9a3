"""Answers as bytes: the same JSON as the SDK's own, in less memory."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import random
import tracemalloc
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from runpod.serverless.modules import rp_http, rp_job, rp_scale

from wanworker.serverless._json_stream import dumps
from wanworker.serverless.sdk import patch_sdk

BASE64 = base64.b64encode(random.Random(0).randbytes(100_000)).decode()


@pytest.mark.parametrize(
    "value",
    [
        pytest.param({}, id="nothing"),
        pytest.param([], id="no entries"),
        pytest.param(None, id="null"),
        pytest.param({"output": {"data": BASE64, "files": [{"data": BASE64}, (1, 2.5, True)]}}, id="base64"),
        pytest.param({"log": 'said "no"\\\n\x01\x7f' * 10_000}, id="characters to escape"),
        pytest.param({"log": "caf\u00e9 \U0001f600" * 20_000, "caf\u00e9": "\U0001f600"}, id="not ASCII"),
        pytest.param({"log": "A" * 16_383 + "\U0001f600" + '"' * 20_000}, id="a piece's edge"),
        pytest.param({"a" * 20_000: [[], {}, [{}]]}, id="a long key"),
        pytest.param({1: "a", None: {"b": "c"}}, id="keys that are no text"),
        pytest.param({"files": [{"a": {"b": ("x", BASE64)}}, {"a": 1}, []], 2: {"data": BASE64}}, id="both"),
        pytest.param([math.nan, -math.inf, 10**30], id="numbers"),
    ],
)
def test_the_bytes_are_those_of_json(value: Any) -> None:
    assert json.dumps(value, ensure_ascii=False) == dumps(value, ensure_ascii=False).decode()


@pytest.mark.parametrize("text", ["a\ud800", "\udfff" * 20_000], ids=["short", "long"])
def test_a_lone_surrogate_is_refused_however_long_the_text_is(text: str) -> None:
    with pytest.raises(ValueError, match="surrogates"):
        dumps({"a": text})


def test_what_json_does_not_know_is_refused() -> None:
    with pytest.raises(TypeError, match="object is not JSON serializable"):
        dumps({"a": [object()]})
    with pytest.raises(ValueError, match="UTF-8"):
        dumps({}, ensure_ascii=True)


def test_a_long_text_is_held_once_more_and_not_oftener() -> None:
    text = "A" * 10_000_000
    tracemalloc.start()
    try:
        made = dumps({"data": text})
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(text) + len('{"data": ""}') == made.size
    assert peak_bytes < 1.3 * len(text)  # bytes that grow keep an eighth to grow into


async def test_the_sdk_posts_an_answer_again_and_holds_it_once() -> None:
    text, bodies = "A" * 10_000_000, []

    async def answer(request: web.Request) -> web.Response:
        size_bytes, whole = 0, hashlib.sha256()
        async for piece in request.content.iter_any():
            size_bytes += len(piece)
            whole.update(piece)
        bodies.append((size_bytes, whole.hexdigest()))
        return web.Response(status=500 if len(bodies) == 1 else 200)

    app = web.Application()
    app.router.add_post("/", answer)
    async with TestServer(app) as server, ClientSession() as session:
        body = dumps({"data": text})
        tracemalloc.start()
        try:
            await rp_http._transmit(session, str(server.make_url("/")), body)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    expected = json.dumps({"data": text}).encode()
    assert [(len(expected), hashlib.sha256(expected).hexdigest())] * 2 == bodies
    # An eighth is on its way or with the server, by the sizes of this system's sockets. A second text is a whole one.
    assert peak_bytes < 0.2 * len(text)  # what is on its way, and the server's own pieces


def test_the_sdk_writes_json_where_it_posts_an_answer_and_nowhere_else() -> None:
    # The names that are replaced are the SDK's own; with a later one this fails before a worker does.
    modules = SimpleNamespace(
        rp_http=SimpleNamespace(**vars(rp_http)),
        rp_job=SimpleNamespace(send_result=rp_job.send_result),
        rp_scale=SimpleNamespace(**vars(rp_scale)),
    )
    patch_sdk(modules)

    assert rp_http.json is json
    assert ["dumps"] == [name for name in rp_http._handle_result.__code__.co_names if hasattr(json, name)]
    assert issubclass(modules.rp_scale.JobScaler, rp_scale.JobScaler)
    assert "_transmit" in rp_http._handle_result.__code__.co_names
    assert "send_result" in rp_job.handle_job.__code__.co_names
    assert dumps is modules.rp_http.json.dumps
