"""
ComfyUI's own frontend and our converter make the same run of every template of the server.

It needs a real server (COMFYUI_URL) with its frontend and templates, and Chromium. docs/comfyui.md has the command and
the numbers.
"""

from __future__ import annotations

import json
import os
import shutil
import urllib.request
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from fakes.comfyui_page import Frontend, run_of
from wanworker.comfyui.ui_workflow.convert import api_graph
from wanworker.errors import GraphRefused

REAL = os.environ.get("COMFYUI_URL", "").rstrip("/")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.real_comfyui,
    pytest.mark.slow,
    pytest.mark.skipif(not REAL, reason="COMFYUI_URL is not set"),
]

#: Small workflows, and what the page sent for them (test_sisters.py).
SISTERS = Path(__file__).parents[2] / "data/comfyui/ui_sisters.json"

#: The least part of the templates that must be equal.
LEAST_EQUAL = 0.99

#: Every template that differs, and why. A name that is equal after all makes the test fail, and so does a new one.
DIFFERENT = {
    "template_rob_realistic_2k_images_quick_variations": "needs two custom node packs; we refuse it and name them",
    "templates_rob_realistic_2k_images_quick_variations.app": "needs two custom node packs; we refuse it and name them",
    "templates_mjm_looped_restyler": "needs a custom node pack; we refuse it and name it",
    "templates_graphic_design_recomposer": "the page moves a primitive's value to the wrong input, a model's name into "
    "aspect_ratio, because the file numbers the inputs as an older class did; we keep the author's 16:9",
}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    arguments = [
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    ]
    with sync_playwright() as playwright:
        # Chromium's own sandbox refuses to run as root, which is what containers do.
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=path, args=[*arguments, *sandbox])
        yield browser
        browser.close()


def fetched(path: str) -> str:
    with urllib.request.urlopen(f"{REAL}{path}", timeout=60) as answer:
        text: str = answer.read().decode("utf-8-sig")
        return text


def template_names() -> list[str]:
    return [
        template["name"] for group in json.loads(fetched("/templates/index.json")) for template in group["templates"]
    ]


def difference(frontend: Frontend, text: str, info: dict[str, Any]) -> list[str]:
    """Return what only one of the two sends; nothing if the runs are equal."""
    theirs = frontend.sent(text)
    try:
        ours = api_graph(json.loads(text), info, now=datetime.now()).graph
    except GraphRefused as refused:
        return [f"refused: {refused}"]
    left, right = run_of(ours, info), run_of(theirs, info)
    return [f"ours: {node}" for node in left - right] + [f"theirs: {node}" for node in right - left]


@pytest.mark.timeout(3600)
def test_every_template_of_the_server_becomes_the_run_that_its_own_page_sends(
    chromium: Browser, record_property: Callable[[str, object], None]
) -> None:
    info, names = json.loads(fetched("/object_info")), template_names()
    frontend = Frontend(chromium, REAL)

    found = {name: difference(frontend, fetched(f"/templates/{name}.json"), info) for name in names}

    different = {name: told for name, told in found.items() if told}
    record_property("templates", f"{len(names) - len(different)} of {len(names)} equal")
    assert set(DIFFERENT) == set(different), json.dumps(different, indent=1)[:20_000]
    assert len(names) - len(different) >= LEAST_EQUAL * len(names)


@pytest.mark.timeout(3600)
def test_the_page_still_sends_what_is_recorded_of_the_small_workflows(chromium: Browser) -> None:
    """Those with a date are left out: the page takes the day of today."""
    info = json.loads(fetched("/object_info"))
    sisters = {name: made for name, made in json.loads(SISTERS.read_text()).items() if "date:" not in json.dumps(made)}
    frontend = Frontend(chromium, REAL)

    sent = {name: frontend.sent(json.dumps(made["workflow"])) for name, made in sisters.items()}

    assert [] == [name for name, made in sisters.items() if run_of(made["sent"], info) != run_of(sent[name], info)]
