"""Every task over REST in a server process of its own, whose event loop is the one that uvicorn chooses."""

from __future__ import annotations

import base64
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from fakes.recordings import film, sound
from fakes.rest_process import SOURCE
from fakes.rest_server import serving
from fakes.wan.home import make_home

RENDER_S = 90.0
INPUTS = {
    "t2v-A14B": (),
    "i2v-A14B": ("image",),
    "ti2v-5B": ("image",),
    "s2v-14B": ("image", "audio"),
    "animate-14B": ("image", "driving_video"),
}
MINI = {"frames": 5, "steps": 1, "width": 128, "height": 64}


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return a picture, a sound, and a film as WebM, by field, in base64."""
    folder = tmp_path_factory.mktemp("media")
    picture = io.BytesIO()
    Image.new("RGB", (128, 64), (200, 60, 20)).save(picture, "JPEG")
    files = {
        "reference_image_base64": picture.getvalue(),
        "audio_base64": sound(folder / "voice.wav").read_bytes(),
        "driving_video_base64": film(folder / "moves.webm", size="64x64").read_bytes(),
    }
    return {name: base64.b64encode(content).decode() for name, content in files.items()}


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a server that renders with the miniature."""
    folder = tmp_path_factory.mktemp("mini")
    with serving(folder, {"WAN_CKPT_DIR": str(folder / "models")}) as address:
        yield address


@pytest.fixture(scope="module")
def wan_cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a server that renders with upstream's command line, which is a fake one."""
    folder = tmp_path_factory.mktemp("cli")
    home, models = make_home(folder)
    paths = {"WAN_HOME": str(home), "WAN_CKPT_DIR": str(models), "WAN_PYTHON": sys.executable}
    with serving(folder, {"WAN_ENGINE": "wan_cli", **paths}, answers="ping") as address:
        yield address


def generate(address: str, media: dict[str, str], task: str, **fields: Any) -> dict[str, Any]:
    """Run one job through the RunPod-shaped face, which takes every input, and return RunPod's answer."""
    names = {"image": "reference_image_base64", "audio": "audio_base64", "driving_video": "driving_video_base64"}
    inputs = {names[name]: media[names[name]] for name in INPUTS[task]}
    body = {"input": {"action": "generate", "prompt": "a red star", "task": task, "seed": 1, **inputs, **fields}}
    answer = httpx.post(f"{address}/v2/local/runsync", json=body, timeout=RENDER_S, trust_env=False)
    return dict(answer.json())


@pytest.mark.parametrize("task", INPUTS)
@pytest.mark.parametrize("engine", [pytest.param("mini", marks=pytest.mark.slow), "wan_cli"])
def test_a_server_renders_each_task_with_what_it_takes(
    engine: str, task: str, media: dict[str, str], request: pytest.FixtureRequest
) -> None:
    fields = MINI if engine == "mini" else {}

    answer = generate(request.getfixturevalue(engine), media, task, **fields)

    assert "COMPLETED" == answer["status"], answer
    output = answer["output"]
    assert engine == output["engine"]
    assert output["video"]["frames"] > 0


def test_what_a_server_keeps_for_ever_is_not_looked_at_in_every_collection(tmp_path: Path) -> None:
    site, told = tmp_path / "site", tmp_path / "frozen"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import gc, pathlib\nreal = gc.freeze\n"
        "def freeze():\n"
        f"    real(), pathlib.Path({str(told)!r}).write_text(str(gc.get_freeze_count()))\n"
        "gc.freeze = freeze\n"
    )
    with serving(tmp_path, {"PYTHONPATH": f"{site}:{SOURCE}"}, answers="ping"):
        pass

    assert int(told.read_text()) > 10_000  # the modules of a server; an interpreter alone has some hundreds
