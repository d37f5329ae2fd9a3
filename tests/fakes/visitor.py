"""What a visitor does on the page: fill in a request, send it, watch a job, play a video."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page, expect

PROMPT = "a red star moves to the right over a green field"

#: As small as it gets: these tests are about the page.
QUICK = {"width": "128", "height": "64", "length": "17", "fps": "8", "steps": "2"}

#: The longest that a render may take, model loading on a busy machine included.
RENDER_MS = 120_000

_AXE = Path(__file__).resolve().parents[1] / "rest" / "page" / "vendor" / "axe.min.js"


def fill(page: Page, prompt: str = PROMPT, **fields: str) -> None:
    """Fill in the prompt, and the numbers under "Advanced"."""
    unfold(page)
    for name, value in {**QUICK, **fields}.items():
        page.locator(f"#advanced [name={name}], .seed [name={name}]").fill(value)
    page.get_by_label("Prompt", exact=True).fill(prompt)


def unfold(page: Page) -> None:
    """Open the part with the numbers."""
    if page.locator("#advanced").get_attribute("open") is None:
        page.locator("#advanced > summary").click()


def press_render(page: Page) -> None:
    """Press the button that sends the request."""
    page.get_by_role("button", name="Render", exact=True).click()


def send(page: Page) -> str:
    """Send the request and return the accepted job's id."""
    with page.expect_response("**/generate") as answer:
        press_render(page)
    return str(answer.value.json()["job_id"])


def recent(page: Page, job_id: str) -> Locator:
    """Return the job in the strip of recent ones; its `data-state` says how it goes."""
    return page.locator(f'#recent > li[data-id="{job_id}"]')


def rendered(page: Page, prompt: str = PROMPT, **fields: str) -> str:
    """Fill in, send and wait for the video. Return its job's id."""
    fill(page, prompt, **fields)
    job_id = send(page)
    expect(recent(page, job_id)).to_have_attribute("data-state", "ready", timeout=RENDER_MS)
    return job_id


def plays(page: Page) -> bool:
    """Start the player and say whether its time moves on."""
    player = page.locator("#player")
    player.evaluate("player => player.play()")
    before = player.evaluate("player => player.currentTime")
    page.wait_for_function("before => document.getElementById('player').currentTime !== before", arg=before)
    return True


def violations(page: Page) -> list[Any]:
    """Return what axe finds wrong with the page as it is shown, each rule with the elements concerned."""
    page.evaluate(_AXE.read_text(encoding="utf-8"))
    found = page.evaluate("async () => (await axe.run()).violations")
    return [(rule["id"], [node["html"][:160] for node in rule["nodes"]]) for rule in found]
