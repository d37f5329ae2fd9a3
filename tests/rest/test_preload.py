"""The REST door warms up what WAN_PRELOAD names too, and its first video tells what the start took."""

from __future__ import annotations


async def test_what_is_named_comes_up_with_the_server(serve):
    async with serve(preload="t2v-A14B") as rest:
        _, answer = await rest.ask("POST", "/v2/any/runsync", json={"input": {"health": True}})

    assert ["t2v-A14B"] == [preload["name"] for preload in answer["output"]["preload"]]


async def test_the_first_video_tells_what_the_start_took(rest):
    first = await rest.until(await rest.generate())
    second = await rest.until(await rest.generate(seed=2))

    assert first["timings"]["start_s"] > 0
    assert "start_s" not in second["timings"]
