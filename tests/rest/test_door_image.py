"""The door's image without Docker: a server of what the target copies, with what its lock installs and nothing else."""

from __future__ import annotations

import base64
import importlib.metadata
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from packaging.utils import canonicalize_name

from dockerfile import ALL_STEPS, ROOT, stage
from fakes.engine import write_clip
from fakes.rest_process import RestProcess
from fakes.runpod import RunPod
from fakes.runpod_worker import StandInWorker
from locks import locked_requirements

DOOR = stage("door", ALL_STEPS)
ENV = dict(word.split("=", 1) for step in DOOR if step.name == "ENV" for word in step.words)

#: Run as Python starts: a library that the lock does not bring is not there.
_REFUSING = """
import sys
absent = frozenset({absent!r})
class Refusing:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError("No module named " + repr(name), name=name)
sys.meta_path.insert(0, Refusing())
"""


def not_brought_by(lock: str) -> list[str]:
    """Return the top-level modules that are installed here, but not by *lock*."""
    pins = {pin.name for pin in locked_requirements(lock)}
    known = importlib.metadata.packages_distributions()
    return sorted(name for name, owners in known.items() if not pins & set(map(canonicalize_name, owners)))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Return a folder with what the target copies into /app."""
    for step in DOOR:
        if step.name == "COPY" and step.words[-1].startswith("/app/"):
            for source in step.words[:-1]:
                target = tmp_path / step.words[-1].lstrip("/")
                shutil.copytree(ROOT / source, target, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "app"


@pytest.fixture
def server(tmp_path: Path, image: Path) -> Iterator[httpx.Client]:
    clip = base64.b64encode(write_clip(tmp_path / "clip.mp4").read_bytes()).decode()
    posted = {"output": {"result": {"filename": "a.mp4", "data": clip}, "engine": "diffusers", "model": "wan"}}
    home, site = tmp_path / "home", tmp_path / "site"
    home.mkdir()
    site.mkdir()
    absent = [name for name in not_brought_by("requirements-door.lock") if name != "wanworker"]
    assert {"torch", "diffusers", "transformers", "runpod"} <= set(absent)
    (site / "sitecustomize.py").write_text(_REFUSING.format(absent=absent))
    assert ENV["PYTHONPATH"] == "/app/src"
    with RunPod() as plane, StandInWorker(plane, lambda worker, job: worker.done(job, posted)):
        own = {"PYTHONPATH": f"{site}:{image / 'src'}", "REST_HOST": "127.0.0.1", "WAN_ALLOW_HOSTS": "127.0.0.1"}
        fleet = {"WAN_RUNPOD_ENDPOINTS": plane.url, "RUNPOD_API_KEY": plane.api_key}
        taken = {name: value for name, value in ENV.items() if name not in {"PATH", "LANG"}}
        process = RestProcess(home, **{**taken, **own, **fleet})
        with process, httpx.Client(base_url=f"http://127.0.0.1:{process.port}", timeout=60, trust_env=False) as client:
            yield client


def ended(server: httpx.Client, **fields: Any) -> dict[str, Any]:
    body = {"prompt": "a star", "seed": 1, "width": 64, "height": 64, "length": 5, **fields}
    name = server.post("/generate", json=body).raise_for_status().json()["job_id"]
    with server.stream("GET", f"/events/{name}") as events:
        for _ in events.iter_lines():
            pass
    return dict(server.get(f"/status/{name}").json())


def performed(server: httpx.Client, **fields: Any) -> dict[str, Any]:
    answer = server.post("/v2/local/runsync", json={"input": fields}).raise_for_status().json()
    return {**answer.get("output", {}), "error": answer.get("error")}


def test_a_door_of_its_image_renders_and_says_what_it_cannot(server: httpx.Client) -> None:
    done = ended(server)
    here = [ended(server, engine=engine) for engine in ("diffusers", "comfyui", "wan_cli", "mini")]
    health = performed(server, action="health")
    models = performed(server, action="comfyui_models")
    plan = server.post("/plan", json={"task": "t2v-A14B", "prompt": "a star"})
    thumbnail = server.get(done["thumbnail_url"])

    assert ("completed", "runpod") == (done["status"], done["engine"]), json.dumps(done)
    assert ["error"] * 4 == [each["status"] for each in here]
    assert "INTERNAL" not in {each["code"] for each in here}, here
    assert None is health["error"]
    assert "INTERNAL" != models.get("code"), models
    assert 200 == plan.status_code, plan.text
    assert "runpod" in plan.text
    assert "image/jpeg" == thumbnail.headers["content-type"]
