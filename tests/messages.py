"""Every message that a wrong request can get: all fields of all actions with values of every wrong kind, and REST."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from httpx import ASGITransport, AsyncClient

from door import ask, refused_port
from wanworker.actions.comfyui._i2v_request import I2vRequest
from wanworker.actions.comfyui._inputs import InputField
from wanworker.actions.comfyui.models import ModelsRequest
from wanworker.actions.comfyui.workflow import WorkflowRequest
from wanworker.actions.generate.request import GenerateRequest
from wanworker.actions.health import HealthRequest
from wanworker.actions.request.fields import Request
from wanworker.actions.request.lora import LoraField
from wanworker.actions.status import StatusRequest
from wanworker.app import Worker
from wanworker.engines import ENGINES
from wanworker.rest._app import create_app
from wanworker.rest.schemas.generate import GenerateBody
from wanworker.settings import Settings

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(300)).decode()
HEIC = base64.b64encode(bytes(4) + b"ftypheic" + bytes(300)).decode()
HTML = base64.b64encode(b"<!doctype html><title>Log in</title>" + b" " * 100).decode()

#: A name for the page, and the value.
WRONG: Mapping[str, Any] = {
    "a boolean": True, "zero": 0, "a negative number": -7, "a fraction": 1.5, "a huge number": 10**30,
    "an empty text": "", "a word": "abc", "a long text": "word " * 4000, "an empty list": [], "a list": [1, "a"],
    "an empty object": {}, "an object": {"a": 1}, "NUL": "a\x00b", "half a character": "a\ud83d",
    "a URL": "https://127.0.0.1/a.png", "an FTP URL": "ftp://host/a.png", "a URL with a login": "https://me:pw@host/a",
    "a path": "/etc/passwd", "a file name": "cat.png", "a path up": "../../cat.png", "base64": PNG, "HEIC": HEIC,
    "a page": HTML, "broken base64": PNG[:100] + "!" + PNG[101:], "a data URI": "data:image/png,abc",
    "deep": json.loads("[" * 200 + "]" * 200),
}  # fmt: skip

_GRAPH = {"1": {"class_type": "SaveImage", "inputs": {}}}
_ACTIONS: Mapping[str, tuple[type[Request], Mapping[str, Any]]] = {
    "generate": (GenerateRequest, {"task": "t2v-A14B", "prompt": "a cat"}),
    "comfyui_i2v": (I2vRequest, {"prompt": "a cat", "reference_image_base64": PNG}),
    "comfyui_workflow": (WorkflowRequest, {"workflow": _GRAPH}),
    "comfyui_models": (ModelsRequest, {}),
    "status": (StatusRequest, {}),
    "health": (HealthRequest, {}),
}
_NESTED = {"loras": LoraField, "images": InputField, "audio": InputField, "videos": InputField}


@dataclass(frozen=True)
class Said:
    """What a request was answered: `request` names it for the page, `text` and `hint` are the answer's."""

    request: str
    code: str
    text: str
    hint: str


def _fields(model: type[Request]) -> Iterator[tuple[str, str, Any]]:
    """Yield (field, kind of value, value) for every field, and for every field of the entries of its lists."""
    for alias in model.aliases():
        yield alias, "an object", WRONG["an object"]
    for name in model.model_fields:
        for kind, value in WRONG.items():
            yield name, kind, value
            if name in _NESTED:
                for inner in _NESTED[name].model_fields:
                    yield f"{name}[0].{inner}", kind, [{"name": "a.png", inner: value}]


def _jobs() -> Iterator[tuple[str, dict[str, Any]]]:
    yield "action: unknown", {"action": "dance"}
    yield "action: a list", {"action": ["generate"]}
    yield "nothing", {}
    yield "1,001 fields", {f"field{number}": 1 for number in range(1001)}
    for task in ("i2v-A14B", "s2v-14B", "animate-14B"):
        yield f"{task} alone", {"action": "generate", "task": task}
    yield "width alone", {"prompt": "a", "task": "t2v-A14B", "width": 512}
    for action, (model, base) in _ACTIONS.items():
        for name, kind, value in _fields(model):
            yield f"{action}: {name} = {kind}", {"action": action, **base, name.partition("[")[0]: value}


async def of_jobs(worker: Worker) -> AsyncIterator[Said]:
    """Yield what RunPod's door answers to every wrong job; no engine of *worker* can render."""
    for wrong in (None, "text", [1], True, 3):
        answer, _ = await ask(worker, {"input": wrong})
        yield _said(f"input = {wrong!r}", answer)
    for name, job in _jobs():
        answer, _ = await ask(worker, {"input": job})
        if "error" in answer:
            yield _said(name, answer)


async def of_rest(settings: Settings) -> AsyncIterator[Said]:
    """Yield what the REST server answers to every wrong request; its queue is never worked off."""
    transport = ASGITransport(app=create_app(Worker(settings, engines=()), settings))
    async with AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        for name, asked in _calls():
            answer = await client.request(**asked)
            if answer.status_code >= 400:
                yield _said(f"REST {name}", answer.json())


def _calls() -> Iterator[tuple[str, dict[str, Any]]]:
    def post(content: bytes, kind: str = "application/json", url: str = "/generate") -> dict[str, Any]:
        return {"method": "POST", "url": url, "content": content, "headers": {"Content-Type": kind}}

    bodies = {
        "half a JSON": b"{", "a list": b"[1]", "NaN": b'{"seed": NaN}', "no UTF-8": b'{"a": "\xff"}', "empty": b"",
        "deep JSON": b"[" * 100_000, "deep object": b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "no fields": b"{}",
        "a long number": b'{"seed": ' + b"9" * 5000 + b"}",
    }  # fmt: skip
    for name, body in bodies.items():
        yield f"/generate with {name}", post(body)
        yield f"/v2/x/run with {name}", post(body, url="/v2/x/run")
    yield "/generate as XML", post(b"<a/>", "text/xml")
    yield "a broken form", post(b"nonsense", "multipart/form-data; boundary=x")
    yield "a form without a boundary", post(b"--x", "multipart/form-data")
    part = b'--x\r\nContent-Disposition: form-data; name="clip"; filename="a"\r\n\r\na\r\n--x--\r\n'
    yield "a form with another file", post(part, "multipart/form-data; boundary=x")
    for path in ("/status/none", "/status/a%00b", "/download/none", "/nowhere", "/jobs?limit=0", "/jobs?limit=abc"):
        yield path, {"method": "GET", "url": path}
    for path in ("/jobs?cursor=abc", "/preview/none", "/v2/x/status/none", "/events/none"):
        yield path, {"method": "GET", "url": path}
    yield "DELETE /generate", {"method": "DELETE", "url": "/generate"}
    yield "runsync?wait=1", post(b'{"input": {"health": true}}', url="/v2/x/runsync?wait=1")
    for name, kind, value in _fields(GenerateBody):
        fields = {"prompt": "a cat", name: value}
        yield f"/generate: {name} = {kind}", post(json.dumps(fields).encode())


def _said(request: str, answer: Mapping[str, Any]) -> Said:
    return Said(request, str(answer["code"]), str(answer["error"]), str(answer["hint"]))


async def everything(settings: Settings) -> list[Said]:
    """Return all messages; *settings* should have its folders somewhere that may be written to."""
    worker = Worker(settings, engines=[row for row in ENGINES if row.name == "comfyui"])
    try:
        jobs = [said async for said in of_jobs(worker)]
    finally:
        await worker.close()
    return [*jobs, *[said async for said in of_rest(settings)]]


def page(messages: list[Said]) -> str:
    """Return the messages as lines, each text once, with the first request that got it."""
    first: dict[tuple[str, str, str], str] = {}
    for said in messages:
        first.setdefault((said.code, said.text, said.hint), said.request)
    return "\n".join(f"{request}\n    {code}: {text}\n    {hint}" for (code, text, hint), request in first.items())


def settings_below(folder: Path) -> Settings:
    """Return settings that read and write below *folder* alone."""
    return Settings(
        out_dir=folder / "out", ckpt_dir=folder / "models", wan_home=folder / "wan", input_dirs=(folder / "in",),
        max_queue=10_000, mini=False, comfyui_url=f"http://127.0.0.1:{refused_port()}",
    )  # fmt: skip
