"""Who cannot reach the server, use a mouse, see the page, or has a small or dark screen."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from fakes.visitor import PROMPT, QUICK, RENDER_MS, fill, press_render, recent, send, unfold, violations

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

PAGE = Path(__file__).resolve().parents[3] / "src" / "wanworker" / "rest" / "page"

#: Where Tab stops on the page of a server that has no jobs. The examples come after the key.
STOPS = [
    "wanworker", "Create", "Gallery", "Workflow", "Machine", "API key", "Text", "Model", "Prompt", "Render",
    "Wide", "480p", "5 s", "Server's choice", "Seed", "Keep this seed", "Roll a seed", "Add a LoRA", "Advanced",
    "Reset everything",
]  # fmt: skip

EXAMPLES = re.findall(
    r'^      "(.+)",$',
    (PAGE / "create" / "presets.js").read_text(encoding="utf-8").partition("any:")[0],
    re.MULTILINE,
)

#: The words by which what has the focus is named.
NAME_IN_FOCUS = """() => {
    const place = document.activeElement;
    const label = place.labels?.[0] ?? place;
    return place.getAttribute("aria-label") ?? (label.querySelector("span, h1, h2") ?? label).textContent.trim();
}"""

#: A desk, a phone, and the narrowest phone that is still common.
SIZES = [(1440, 900), (390, 844), (360, 740)]


def test_a_server_that_does_not_answer_is_said_and_found_again(address: str, open_page: Callable[..., Page]) -> None:
    page = open_page(address)
    expect(page.locator("#server-text")).to_contain_text("mini")
    page.get_by_label("Prompt", exact=True).fill("kept")
    page.context.set_offline(True)
    expect(page.locator("#banner")).to_contain_text("does not answer")
    expect(page.locator("#server-text")).to_have_text("Offline")
    press_render(page)
    expect(page.locator("#form-error")).to_have_text("The server does not answer.")
    assert violations(page) == []
    page.context.set_offline(False)

    expect(page.locator("#banner")).to_have_count(0)
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("kept")


def test_a_key_that_is_not_given_is_asked_for_once(serve: Callable[..., str], open_page: Callable[..., Page]) -> None:
    page = open_page(serve(WAN_API_KEY="open sesame"))
    expect(page.get_by_role("dialog")).to_be_visible()
    assert violations(page) == []
    page.keyboard.press("Escape")

    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.locator("#banner")).to_contain_text("needs its API key")
    expect(page.locator("#server-text")).to_have_text("Locked")


def test_a_visitor_without_a_mouse_renders_and_deletes(
    serve: Callable[..., str], open_page: Callable[..., Page]
) -> None:
    page = open_page(serve())  # without jobs, so that the way to the prompt is the same each time
    expect(page.locator("#examples button")).to_have_count(len(EXAMPLES))
    prompt = page.get_by_label("Prompt", exact=True)
    for _ in range(STOPS.index("Prompt") + 1 + len(EXAMPLES)):
        page.keyboard.press("Tab")
    expect(prompt).to_be_focused()
    page.keyboard.type(PROMPT)
    page.locator("#advanced > summary").focus()
    page.keyboard.press("Enter")
    for name, value in QUICK.items():
        page.locator(f"#advanced [name={name}]").focus()
        page.keyboard.type(value)
    with page.expect_response("**/generate") as answer:
        prompt.press("Control+Enter")
    job_id = answer.value.json()["job_id"]
    expect(recent(page, job_id)).to_have_attribute("data-state", "ready", timeout=RENDER_MS)
    recent(page, job_id).get_by_role("button").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#about-prompt")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Use settings")).to_be_focused()
    page.get_by_role("button", name="Delete").focus()
    page.keyboard.press("Enter")
    expect(recent(page, job_id)).to_have_count(0)
    page.keyboard.press("Control+z")

    expect(recent(page, job_id)).to_be_visible()


def test_tab_goes_through_the_page_in_the_order_of_reading(
    serve: Callable[..., str], open_page: Callable[..., Page]
) -> None:
    page = open_page(serve())  # without jobs, so that the way is the same each time
    expect(page.locator("#examples button")).to_have_count(len(EXAMPLES))
    way = []
    for _ in range(len(STOPS) + len(EXAMPLES)):
        page.keyboard.press("Tab")
        way.append(page.evaluate(NAME_IN_FOCUS))

    assert [name for name in way if name not in EXAMPLES] == STOPS
    assert way.index(EXAMPLES[0]) == way.index("API key") + 1


def test_every_control_has_a_name_in_the_accessibility_tree(address: str, open_any: Callable[..., Page]) -> None:
    page = open_any(address)
    unfold(page)
    tree = page.locator("body").aria_snapshot()
    kinds = "button|textbox|radio|combobox|progressbar|link|region|dialog"

    assert len(re.findall(rf"- (?:{kinds})\b", tree)) > 25
    assert re.findall(rf"^\s*- (?:{kinds})\s*:?$", tree, re.MULTILINE) == []


def test_a_screen_reader_hears_how_the_job_goes(address: str, open_page: Callable[..., Page]) -> None:
    page = open_page(address)
    fill(page, steps="15")
    send(page)
    announcer = page.locator("#announcer")

    expect(announcer).to_contain_text(re.compile(r"Denoising|Loading|Reading|Preparing"), timeout=RENDER_MS)
    expect(announcer).to_have_text("The video is ready.", timeout=RENDER_MS)


@pytest.fixture(scope="module")
def made(address: str) -> str:
    """Return the id of a video on the shared server."""
    import httpx

    with httpx.Client(base_url=address, trust_env=False, timeout=30) as client:
        body = {"prompt": PROMPT, "width": 128, "height": 64, "length": 17, "fps": 8, "steps": 2, "seed": 5}
        job_id: str = client.post("/generate", json=body).raise_for_status().json()["job_id"]
        with client.stream("GET", f"/events/{job_id}", timeout=RENDER_MS / 1000) as events:
            assert "event: completed" in list(events.iter_lines())
    return job_id


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_view_fits_the_screen_and_axe_finds_nothing(
    address: str, open_any: Callable[..., Page], tmp_path: Path, made: str, size: tuple[int, int], scheme: str
) -> None:
    viewport = {"width": size[0], "height": size[1]}
    page = open_any(address, viewport=viewport, color_scheme=scheme, reduced_motion="reduce")
    found = {}
    for name, sign in VIEWS.items():
        page.goto(f"{address}/ui/#{name.replace('job', f'job/{made}')}")
        expect(page.locator(sign).first).to_be_visible()
        if name == "create":
            unfold(page)
            page.get_by_role("radio", name="First & last").check(force=True)
            press_render(page)
            expect(page.locator("#prompt-error")).not_to_be_empty()
        page.screenshot(path=tmp_path / f"{name}.png")
        found[name] = violations(page)
        assert page.evaluate("document.documentElement.scrollWidth") == size[0], name
        assert page.locator("#render").count() == 0 or page.locator("#render").is_visible(), name

    assert found == {name: [] for name in VIEWS}


#: Each view of the page, and what is there once it stands.
VIEWS = {
    "create": "#composer",
    "job": "#player",
    "gallery": "#jobs img",
    "workflow": ".big-drop",
    "machine": "#verdict",
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_a_job_that_renders_or_failed(
    address: str, open_any: Callable[..., Page], made: str, scheme: str
) -> None:
    page = open_any(address, color_scheme=scheme, reduced_motion="reduce")
    states = {
        "rendering": {"status": "processing", "progress": 40, "stage": "sampling", "step": 4, "steps": 10, "eta_s": 9},
        "waiting": {"status": "queued", "progress": 0, "queue_position": 3},
        "failed": {"status": "error", "progress": 40, "error": "The GPU is out of memory.", "code": "OUT_OF_MEMORY"},
        "cancelled": {"status": "error", "progress": 40, "error": "The job was cancelled.", "code": "CANCELLED"},
        "gone": {"status": "completed", "progress": 100},
    }
    common = {"warnings": [], "timings": {}, "video_ready": False}
    jobs = [
        {**common, "job_id": name, "prompt": f"a {name} star", "created_at": 1e9 + at, **state}
        for at, (name, state) in enumerate(states.items())
    ]
    listing = {"jobs": jobs, "total": 5, "next_cursor": None}
    page.route(re.compile(r"/jobs\?"), lambda route: route.fulfill(json=listing))
    page.route(re.compile("/events/"), lambda route: route.abort())
    found = {}
    for name in states:
        page.goto(f"{address}/ui/#job/{name}")
        page.reload()
        expect(page.locator("#screen")).to_have_attribute("data-state", name)
        found[name] = violations(page)
    page.goto(f"{address}/ui/#gallery")
    expect(page.locator("#jobs > li")).to_have_count(5)
    expect(page.locator('[data-id="cancelled"] .badge')).to_have_text("Cancelled")
    found["gallery"] = violations(page)

    assert found == {name: [] for name in (*states, "gallery")}
