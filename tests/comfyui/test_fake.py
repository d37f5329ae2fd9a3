"""The fake speaks as the real server did, shape for shape, so that what passes against it means something."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from fakes.comfyui import FakeComfyUI
from fakes.comfyui_recordings import FOLDER, frames, history, i2v_graph, refusals, video_graph
from fakes.comfyui_rules import recorded_object_info

#: Only on a server whose custom nodes say more, or that answers features we do not use.
BESIDE = {"my_pack.monitor"}


def shape(message: dict[str, Any]) -> str:
    """Write a message's type and keys; the nodes of a progress_state are one shape."""
    data = dict(message["data"])
    if "nodes" in data and isinstance(data["nodes"], dict):
        data["nodes"] = sorted({str(sorted(state)) for state in data["nodes"].values()})
        return f"{message['type']} {sorted(data)} {data['nodes']}"
    return f"{message['type']} {sorted(data)}"


def shapes(lines: Iterable[str]) -> set[str]:
    return {shape(message) for line in lines if (message := json.loads(line))["type"] not in BESIDE}


async def spoken(server: FakeComfyUI, graph: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """Run *graph* as a bare client would; return the frames and the history entry."""
    sid, prompt_id, heard = uuid.uuid4().hex, str(uuid.uuid4()), []
    async with aiohttp.ClientSession(server.url) as session, session.ws_connect(f"/ws?clientId={sid}") as socket:
        body = {"prompt": graph, "client_id": sid, "prompt_id": prompt_id}
        async with session.post("/prompt", json=body) as response:
            assert 200 == response.status
        async with asyncio.timeout(10):
            async for message in socket:
                heard.append(message.data)
                if '"node": null' in message.data:
                    break
        async with session.get(f"/history/{prompt_id}") as response:
            return heard, (await response.json())[prompt_id]


def kinds(lines: Iterable[str]) -> list[str]:
    return [json.loads(line)["type"] for line in lines]


@pytest.fixture
def graph(server: FakeComfyUI) -> dict[str, Any]:
    """The recorded graph, and the picture that it wants."""
    (server.folder / "input" / "example.png").write_bytes(b"png")
    return i2v_graph()


async def test_a_run_says_what_a_real_run_said(server: FakeComfyUI, graph: dict[str, Any]) -> None:
    heard, _ = await spoken(server, graph)

    real = set().union(*(shapes(path.read_text().splitlines()) for path in FOLDER.glob("ws_*.jsonl")))
    assert shapes(heard) <= real
    assert {kind.split()[0] for kind in shapes(heard)} >= {"progress", "progress_state", "executed", "executing"}


@pytest.mark.parametrize("name", ["cached_same_again"])
async def test_a_cached_run_is_the_real_one_word_for_word(
    server: FakeComfyUI, graph: dict[str, Any], name: str
) -> None:
    await spoken(server, graph)

    heard, _ = await spoken(server, graph)

    assert kinds(frames(name)) == kinds(heard)


async def test_an_error_is_the_real_one_word_for_word(server: FakeComfyUI) -> None:
    graph = history("error_oom")["prompt"][2]

    heard, entry = await spoken(server, graph)

    assert kinds(frames("error_oom")) == kinds(heard)
    assert shapes(frames("error_oom")) == shapes(heard)
    assert list(history("error_oom")) == list(entry)
    real, told = (each["status"]["messages"][-1][1] for each in (history("error_oom"), entry))
    assert set(real) == set(told)
    assert real["exception_message"].strip() == told["exception_message"].strip()


async def test_the_newer_fake_says_of_a_run_what_0_33_0_said(tmp_path: Path) -> None:
    real = history("video-0.33.0")
    async with FakeComfyUI(tmp_path / "new", info=recorded_object_info("0.33.0"), version="0.33.0") as server:
        heard, entry = await spoken(server, real["prompt"][2])

    assert shapes(heard) == shapes(frames("video-0.33.0"))
    assert list(dict.fromkeys(kinds(frames("video-0.33.0")))) == list(dict.fromkeys(kinds(heard)))
    assert {node: sorted(shown) for node, shown in real["outputs"].items()} == {
        node: sorted(shown) for node, shown in entry["outputs"].items()
    }


async def test_the_newer_fakes_jobs_are_those_of_0_33_0(tmp_path: Path) -> None:
    real = json.loads((FOLDER / "jobs-0.33.0.json").read_text())
    first, second, third = (str(uuid.uuid4()) for _ in range(3))
    async with FakeComfyUI(tmp_path / "new", version="0.33.0") as server, aiohttp.ClientSession(server.url) as session:
        server.nodes.holds = frozenset({"EmptyImage"})
        for prompt_id, color in ((first, 1), (second, 2)):
            async with session.post("/prompt", json={"prompt": video_graph(color=color), "prompt_id": prompt_id}):
                pass
        await server.nodes.held.wait()
        async with session.get("/api/jobs", params={"status": "pending,in_progress"}) as response:
            told = await response.json()
        answers = []
        for prompt_id in (second, first, third):
            async with session.post(f"/api/jobs/{prompt_id}/cancel") as response:
                answers.append([response.status, await response.json()])
        async with session.post("/prompt", json={"prompt": video_graph(), "prompt_id": "runs"}) as response:
            refused = [response.status, (await response.json())["error"]["type"]]

    assert [job["status"] for job in real["list"]["jobs"]] == [job["status"] for job in told["jobs"]]
    assert {"id", "status", "priority"} <= set(told["jobs"][0]) <= set(real["list"]["jobs"][0])
    assert set(real["list"]["pagination"]) == set(told["pagination"])
    assert [real[f"cancel_{which}"] for which in ("pending", "running", "unknown")] == answers
    assert [real["bad_id"][0], real["bad_id"][1]["error"]["type"]] == refused


@pytest.mark.parametrize("name", ["gifs_vhs_like", "text_and_unknown_keys_nan", "no_outputs"])
async def test_an_entry_has_the_outputs_of_the_real_one(server: FakeComfyUI, name: str) -> None:
    real = history(name)

    _, entry = await spoken(server, real["prompt"][2])

    def keys(outputs: dict[str, Any]) -> list[tuple[str, list[str]]]:
        return [(node, sorted(shown)) for node, shown in outputs.items()]

    assert keys(real["outputs"]) == keys(entry["outputs"])
    assert set(real["status"]) == set(entry["status"])
    assert [message[0] for message in real["status"]["messages"]] == [m[0] for m in entry["status"]["messages"]]


@pytest.mark.parametrize(
    ("case", "node", "name", "value"),
    [
        ("model not in list", "95", "unet_name", "nope.safetensors"),
        ("required input missing", "87", "vae", None),
        ("LoadImage missing file", "97", "image", "missing.png"),
        ("LoadImage traversal", "97", "image", "../../etc/passwd"),
        ("int from string", "98", "width", "abc"),
        ("below min", "98", "width", 8),
        ("above max", "98", "width", 999999),
        ("seed -1", "86", "noise_seed", -1),
        ("seed 2**64", "86", "noise_seed", 2**64),
        ("link to missing node", "87", "samples", ["999", 0]),
        ("link of length 3", "87", "samples", ["85", 0, 1]),
        ("wrong link type", "87", "samples", ["90", 0]),
        ("V3 combo bad value (SaveVideo.format=avi)", "108", "format", "avi"),
        ("cycle", "85", "latent_image", ["85", 0]),
    ],
)
async def test_a_refusal_is_the_real_one(
    server: FakeComfyUI, graph: dict[str, Any], case: str, node: str, name: str, value: Any
) -> None:
    graph[node]["inputs"] |= {name: value}
    if value is None:
        del graph[node]["inputs"][name]

    async with (
        aiohttp.ClientSession(server.url) as session,
        session.post("/prompt", json={"prompt": graph}) as response,
    ):
        status, body = response.status, await response.json()

    real = refusals()[case]
    assert (real["status"], real["body"]["error"]) == (status, body["error"])
    assert told(real["body"]["node_errors"]) == told(body["node_errors"])


def told(node_errors: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Return what node_errors say, without the texts of object_info and the traceback."""
    return [
        (
            node, errors["class_type"], errors["dependent_outputs"],
            [(e["type"], e["message"], e["details"], e["extra_info"].get("received_value")) for e in errors["errors"]],
            [sorted(set(e["extra_info"]) - {"traceback"}) for e in errors["errors"]],
        )
        for node, errors in node_errors.items()
    ]  # fmt: skip


async def test_without_a_client_id_nobody_is_told_of_outputs(server: FakeComfyUI) -> None:
    heard = list[str]()
    async with aiohttp.ClientSession(server.url) as session, session.ws_connect("/ws?clientId=other") as socket:
        async with session.post("/prompt", json={"prompt": video_graph()}) as response:
            assert 200 == response.status
        async with asyncio.timeout(10):
            while not (heard and '"queue_remaining": 0' in heard[-1] and len(heard) > 2):
                heard.append((await socket.receive()).data)

    assert {"status", "progress_state"} == set(kinds(heard))
