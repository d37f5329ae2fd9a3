"""The form: its ranges, its picture, and errors beside the fields."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, Route, expect

from fakes.visitor import RENDER_MS, fill, press_render, send

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

#: Makes what a browser hands over when a file is dropped or pasted.
TRANSFER = """bytes => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([new Uint8Array(bytes)], "handed.png", { type: "image/png" }));
    return transfer;
}"""


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "tall.png"
    Image.new("RGB", (40, 80), "red").save(path)
    return path


def test_a_chosen_picture_is_shown_decides_the_size_and_is_removed(
    address: str, open_page: Callable[..., Page], picture: Path
) -> None:
    page = open_page(address)
    expect(page.locator("#width")).to_have_attribute("placeholder", "1280")
    page.get_by_label("First picture").set_input_files(picture)
    expect(page.locator("#picture-name")).to_have_text("tall.png, 40 \u00d7 80")
    expect(page.locator("#width")).to_have_attribute("placeholder", "picture's")
    page.get_by_role("button", name="Remove").click()

    expect(page.locator("#picture")).to_be_hidden()
    expect(page.locator("#width")).to_have_attribute("placeholder", "1280")
    expect(page.get_by_label("First picture")).to_be_focused()


def test_a_dropped_picture_is_rendered_in_its_own_shape(
    address: str, open_page: Callable[..., Page], picture: Path
) -> None:
    page = open_page(address)
    dropped = page.evaluate_handle(TRANSFER, list(picture.read_bytes()))
    page.dispatch_event("#drop", "drop", {"dataTransfer": dropped})
    expect(page.locator("#picture-name")).to_have_text("handed.png, 40 \u00d7 80")
    fill(page, "a red star", width="", height="")
    row = send(page)
    expect(row).to_have_attribute("data-status", "ready", timeout=RENDER_MS)
    expect(page.locator("#facts")).to_contain_text("Size")
    width, height = (int(side) for side in re.findall(r"\d+", page.locator("#facts div").first.inner_text()))

    assert width / height == pytest.approx(40 / 80, rel=0.1)


def test_a_picture_is_pasted(address: str, open_page: Callable[..., Page], picture: Path) -> None:
    page = open_page(address)
    pasted = page.evaluate_handle(TRANSFER, list(picture.read_bytes()))
    pasted.evaluate(
        "transfer => document.dispatchEvent(new ClipboardEvent('paste', { clipboardData: transfer, bubbles: true }))"
    )

    expect(page.locator("#picture-name")).to_have_text("handed.png, 40 \u00d7 80")


def test_what_is_no_picture_is_refused_beside_the_field(
    address: str, open_page: Callable[..., Page], tmp_path: Path
) -> None:
    (tmp_path / "notes.png").write_text("no picture")
    page = open_page(address)
    page.get_by_label("First picture").set_input_files(tmp_path / "notes.png")

    expect(page.locator("#image-error")).to_contain_text("notes.png is not a picture")
    expect(page.locator("#picture")).to_be_hidden()


def test_a_value_out_of_range_is_named_before_it_is_sent(address: str, open_page: Callable[..., Page]) -> None:
    page = open_page(address)
    expect(page.locator("#steps")).to_have_attribute("max", "200")
    fill(page, steps="201")
    press_render(page)

    expect(page.locator("#steps-error")).to_have_text("From 1 to 200.")
    expect(page.locator("#steps")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#steps")).to_be_focused()


def test_the_servers_own_refusal_stands_beside_its_field(address: str, open_page: Callable[..., Page]) -> None:
    page = open_page(address)
    fill(page, seed=str(2**64))
    press_render(page)

    expect(page.locator("#seed-error")).to_contain_text("seed")
    expect(page.locator("#seed")).to_be_focused()


def test_a_seed_beyond_javascripts_numbers_arrives_exactly(address: str, open_page: Callable[..., Page]) -> None:
    page = open_page(address)
    fill(page, seed=str(2**64 - 1))
    with page.expect_response("**/generate") as answer:
        press_render(page)

    assert answer.value.json()["seed"] == 2**64 - 1


def test_a_field_left_empty_is_left_out(address: str, open_page: Callable[..., Page]) -> None:
    page = open_page(address)
    fill(page, steps="")
    with page.expect_request("**/generate") as request:
        press_render(page)

    assert "steps" not in request.value.post_data_json
    assert request.value.post_data_json["width"] == 128


def test_a_negative_prompt_without_guidance_is_said_to_do_nothing(address: str, open_page: Callable[..., Page]) -> None:
    page = open_page(address)
    expect(page.locator("#cfg")).to_have_attribute("max", "50")
    page.get_by_label("Negative prompt").fill("blurry")
    expect(page.locator("#negative_prompt-note")).to_be_visible()
    page.get_by_label("Guidance").fill("3.5")

    expect(page.locator("#negative_prompt-note")).to_be_hidden()


def test_width_and_height_are_swapped(address: str, open_page: Callable[..., Page]) -> None:
    page = open_page(address)
    expect(page.locator("#width")).to_have_attribute("placeholder", "1280")
    page.get_by_role("button", name="Swap").click()

    expect(page.get_by_label("Width")).to_have_value("704")
    expect(page.get_by_label("Height")).to_have_value("1280")


def test_a_full_queue_is_said_and_waited_for(address: str, open_page: Callable[..., Page]) -> None:
    page = open_page(address)

    def refuse(route: Route) -> None:
        route.fulfill(status=429, headers={"Retry-After": "4"}, json={"error": "The queue is full.", "hint": ""})

    page.route("**/generate", refuse)
    fill(page)
    press_render(page)

    expect(page.locator("#form-error")).to_have_text("The queue is full.")
    expect(page.locator("#render")).to_have_text(re.compile(r"Render in \d s"))
    expect(page.locator("#render")).to_have_text("Render")
