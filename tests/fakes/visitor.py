"""What a visitor does on the page: fill in the form, send it, watch a job, play a video."""

from __future__ import annotations

from playwright.sync_api import Locator, Page

PROMPT = "a red star moves to the right over a green field"

#: As small as it gets: these tests are about the page.
QUICK = {"width": "128", "height": "64", "length": "17", "fps": "8", "steps": "2"}

#: The longest that a render may take, model loading on a busy machine included.
RENDER_MS = 90_000


def fill(page: Page, prompt: str = PROMPT, **fields: str) -> None:
    """Fill in the form."""
    for name, value in {**QUICK, **fields}.items():
        page.locator(f"#{name}").fill(value)
    page.get_by_label("Prompt", exact=True).fill(prompt)


def press_render(page: Page) -> None:
    """Press the button that sends the form."""
    page.get_by_role("button", name="Render", exact=True).click()


def send(page: Page) -> Locator:
    """Send the form and return the accepted job's row."""
    with page.expect_response("**/generate") as answer:
        press_render(page)
    return page.locator(f'#jobs > li[data-id="{answer.value.json()["job_id"]}"]')


def id_of(row: Locator) -> str:
    """Return the job's id."""
    return row.get_attribute("data-id") or ""


def plays(page: Page) -> bool:
    """Start the player and say whether its time moves on."""
    player = page.locator("#player")
    player.evaluate("player => player.play()")
    before = player.evaluate("player => player.currentTime")
    page.wait_for_timeout(700)
    return bool(player.evaluate("player => player.currentTime") > before)
