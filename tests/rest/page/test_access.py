"""Who cannot reach the server, use a mouse, see the page, or has a small or dark screen."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from fakes.visitor import PROMPT, QUICK, RENDER_MS, fill, send

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]


def test_a_server_that_does_not_answer_is_said_and_found_again(address: str, open_page: Callable[..., Page]) -> None:
    page = open_page(address)
    expect(page.locator("#server-text")).to_contain_text("mini")
    page.get_by_label("Prompt", exact=True).fill("kept")
    page.context.set_offline(True)
    expect(page.locator("#banner")).to_contain_text("does not answer")
    expect(page.locator("#server-text")).to_have_text("Offline")
    page.context.set_offline(False)

    expect(page.locator("#banner")).to_be_hidden()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("kept")


def test_a_key_that_is_not_given_is_asked_for_once(serve: Callable[..., str], open_page: Callable[..., Page]) -> None:
    page = open_page(serve(WAN_API_KEY="open sesame"))
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")

    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.locator("#banner")).to_contain_text("needs its API key")
    expect(page.locator("#server-text")).to_have_text("Locked")


def test_it_works_by_keyboard_alone(address: str, open_page: Callable[..., Page]) -> None:
    page = open_page(address)
    expect(page.locator("#examples-list button").first).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="API key")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_label("Prompt", exact=True)).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Prompt", exact=True)).to_have_value(PROMPT)
    for name, value in QUICK.items():
        page.locator(f"#{name}").focus()
        page.keyboard.type(value)
    with page.expect_response("**/generate") as answer:
        page.keyboard.press("Control+Enter")
    row = page.locator(f'#jobs > li[data-id="{answer.value.json()["job_id"]}"]')
    expect(row).to_have_attribute("data-status", "ready", timeout=RENDER_MS)
    row.locator(".job-open").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#about-prompt")).to_be_focused()
    page.keyboard.press("Tab")

    expect(page.get_by_role("button", name="Download")).to_be_focused()


def test_every_control_has_a_name_in_the_accessibility_tree(address: str, open_page: Callable[..., Page]) -> None:
    page = open_page(address)
    fill(page)
    send(page)
    expect(page.locator("#player")).to_be_visible(timeout=RENDER_MS)
    tree = page.locator("body").aria_snapshot()
    kinds = "button|textbox|spinbutton|progressbar|link|region|dialog"

    assert len(re.findall(rf"- (?:{kinds})\b", tree)) > 15
    assert re.findall(rf"^\s*- (?:{kinds})\s*:?$", tree, re.MULTILINE) == []


def test_a_screen_reader_hears_how_the_job_goes(address: str, open_page: Callable[..., Page]) -> None:
    page = open_page(address)
    fill(page, steps="15")
    send(page)
    announcer = page.locator("#announcer")

    expect(announcer).to_contain_text(re.compile(r"Denoising|Loading|Reading|Preparing"), timeout=RENDER_MS)
    expect(announcer).to_have_text("The video is ready.", timeout=RENDER_MS)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(360, 740), (390, 844), (1280, 900)], ids=str)
def test_it_fits_the_screen(
    address: str, open_page: Callable[..., Page], tmp_path: Path, size: tuple[int, int], scheme: str
) -> None:
    viewport = {"width": size[0], "height": size[1]}
    page = open_page(address, viewport=viewport, color_scheme=scheme, reduced_motion="reduce")
    expect(page.locator("#steps")).to_have_attribute("placeholder", "8")
    page.screenshot(path=tmp_path / "page.png", full_page=True)

    assert page.evaluate("document.documentElement.scrollWidth") == size[0]
