"""The machine tab, and the pages that describe the API."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Route, expect

from fakes.visitor import RENDER_MS, fill, send, violations

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

HEALTH = {
    "ok": True,
    "version": "0.1.0",
    "comfyui_url": "http://127.0.0.1:8188",
    "comfyui_status": "online",
    "mini_allowed": True,
    "engines": {
        "comfyui": {"t2v-A14B": "ready", "ti2v-5B": "weights: wan2.2_ti2v_5B_fp16.safetensors is missing"},
        "mini": {"t2v-A14B": "ready"},
    },
    "fetch": {"comfyui": {"ti2v-5B": "wanworker fetch fastwan-5b"}},
    "gpus": [
        {"name": "NVIDIA L40S", "memory_mib": 46068, "compute_capability": "8.9", "driver": "580.1"}
        | {"used_mib": 12000, "temperature_c": 61, "busy_percent": 97},
        {"name": "NVIDIA L40S", "memory_mib": 46068, "compute_capability": "8.9", "driver": "580.1"}
        | {"used_mib": None, "temperature_c": None, "busy_percent": None},
        {"name": "NVIDIA L4", "memory_mib": 23034, "compute_capability": "8.9", "driver": "580.1"}
        | {"used_mib": 300, "temperature_c": 40, "busy_percent": 0},
    ],
    "cards": [
        {"number": 0, "name": "NVIDIA L40S", "memory_mib": 46068, "state": "busy", "holds": "comfyui t2v-A14B"}
        | {"job": "job3", "last_failure": None, "last_failure_age_s": None},
        {"number": 1, "name": "NVIDIA L40S", "memory_mib": 46068, "state": "resting", "holds": None}
        | {"job": None, "last_failure": "The render process died.", "last_failure_age_s": 12.3},
    ],
    "kernels": [],
    "damaged": [],
    "disk": [{"path": "/runpod-volume/models", "free_bytes": 120_000_000_000}],
    "facts_age_s": 3.2,
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1440, 900), (390, 844)], ids=str)
def test_a_machine_with_cards_is_described(
    address: str, open_any: Callable[..., Page], size: tuple[int, int], scheme: str
) -> None:
    page = open_any(address, viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    jobs = [
        {"job_id": f"job{n}", "prompt": "a star", "status": "completed", "progress": 100, "video_ready": False}
        | {"created_at": 1e9 + n, "warnings": [], "timings": {"total_s": 10.0 + n, "load_s": 5.0}}
        for n in range(12)
    ]  # fmt: skip
    page.route("**/runsync", lambda route: route.fulfill(json={"status": "COMPLETED", "output": HEALTH}))
    listing = {"jobs": jobs, "total": 12, "next_cursor": None}
    page.route(re.compile(r"/jobs\?"), lambda route: route.fulfill(json=listing))
    page.reload()
    page.goto(f"{address}/ui/#machine")

    expect(page.locator("#verdict")).to_contain_text("This machine can render")
    expect(page.locator("#verdict")).to_contain_text("t2v-A14B by comfyui.")
    first, second = (page.get_by_label(f"NVIDIA L40S {number}", exact=True) for number in range(2))
    for words in ("number 0", "Rendering", "12.6\u00a0GB of 48.3\u00a0GB", "61 \u00b0C \u00b7 97 % busy", "a star"):
        expect(first).to_contain_text(words)
    for words in ("Left out for a while", "Nothing is loaded", "Failed 12\u00a0s ago: The render process died."):
        expect(second).to_contain_text(words)
    expect(page.locator(".cards")).to_contain_text("Not used: WAN_GPUS does not name it.")
    expect(page.locator(".cards")).to_contain_text("120\u00a0GB free")
    expect(page.locator(".tasks")).to_contain_text("wanworker fetch fastwan-5b")
    expect(page.get_by_role("img", name=re.compile("The last 12 videos took"))).to_be_visible()
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") == size[0]


def test_this_machine_is_asked_and_probed_again(address: str, open_page: Callable[..., Page]) -> None:
    page = open_page(f"{address}/ui/#machine")
    expect(page.locator("#verdict")).to_contain_text("The miniature stands in")
    expect(page.locator(".tasks")).to_contain_text("wanworker fetch")
    with page.expect_request("**/runsync") as request:
        page.get_by_role("button", name="Look again").click()

    assert request.value.post_data_json == {"input": {"action": "health", "refresh": True}}
    expect(page.locator("#verdict")).to_contain_text("just now")


def test_each_card_is_shown_with_what_it_holds_and_renders(
    serve: Callable[..., str], open_any: Callable[..., Page]
) -> None:
    page = open_any(serve(WAN_GPUS="cpu:2"))
    page.get_by_role("link", name="Machine", exact=True).click()
    places = [page.get_by_label(f"Processor {number}", exact=True) for number in range(2)]
    for number, place in enumerate(places):
        expect(place).to_contain_text(f"Processor, number {number}")
        expect(place).to_contain_text("Free")
        expect(place).to_contain_text("Nothing is loaded yet.")
    page.get_by_role("link", name="Create", exact=True).click()
    fill(page, steps="200", length="81")
    job_id = send(page)
    page.get_by_role("link", name="Machine", exact=True).click()
    expect(page.locator('.place[data-state="busy"]')).to_have_count(1, timeout=RENDER_MS)
    expect(page.locator('.place[data-state="busy"] a')).to_have_attribute("href", f"#job/{job_id}")
    page.locator('.place[data-state="busy"] a').click()
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_role("link", name="Machine", exact=True).click()

    expect(page.locator('.place[data-state="free"]')).to_have_count(2, timeout=RENDER_MS)
    expect(page.locator(".place", has_text="Warm: mini ti2v-5B")).to_have_count(1)
    assert violations(page) == []


def test_the_apis_pages_open_offline_without_a_key_and_take_one(
    serve: Callable[..., str], open_any: Callable[..., Page]
) -> None:
    address = serve(WAN_API_KEY="open sesame")
    elsewhere: list[str] = []

    def only_ours(route: Route) -> None:
        if not route.request.url.startswith((address, "data:")):
            elsewhere.append(route.request.url)
        route.continue_()

    page = open_any(f"{address}/ui/icon.svg")
    page.route("**/*", only_ours)
    page.goto(f"{address}/docs")
    expect(page.get_by_role("heading", name=re.compile("FastWAN"))).to_be_visible()
    page.get_by_role("button", name="Authorize").click()
    page.locator(".auth-container input").fill("open sesame")
    page.locator(".auth-container").get_by_role("button", name="Apply credentials").click()
    page.get_by_role("button", name="Close").last.click()
    page.locator("#operations-jobs-jobs_jobs_get").click()
    page.get_by_role("button", name="Try it out").click()
    with page.expect_response(re.compile(r"/jobs")) as answer:
        page.get_by_role("button", name="Execute").click()

    assert answer.value.status == 200
    assert elsewhere == []
