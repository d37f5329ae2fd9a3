"""The request: its files, its ranges, what is kept, and errors beside the fields."""

from __future__ import annotations

import re
import wave
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, Route, expect

from fakes.visitor import fill, press_render, recent, rendered, send, unfold

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


def begin_with(page: Page, mode: str) -> None:
    page.get_by_role("radio", name=mode, exact=True).check(force=True)


def test_a_chosen_picture_is_shown_decides_the_size_and_is_removed(
    address: str, open_page: Callable[..., Page], picture: Path
) -> None:
    page = open_page(address)
    begin_with(page, "Picture")
    page.get_by_label("First picture").set_input_files(picture)
    expect(page.locator(".tile figcaption")).to_have_text("tall.png")
    expect(page.locator("#plan")).to_contain_text("The picture's shape")
    page.get_by_role("button", name="Remove: First picture").click()

    expect(page.locator(".tile.filled")).to_have_count(0)
    expect(page.get_by_label("First picture")).to_be_attached()


def test_a_dropped_picture_is_rendered_in_its_own_shape(
    address: str, open_page: Callable[..., Page], picture: Path
) -> None:
    page = open_page(address)
    begin_with(page, "Picture")
    dropped = page.evaluate_handle(TRANSFER, list(picture.read_bytes()))
    page.dispatch_event(".tile", "drop", {"dataTransfer": dropped})
    expect(page.locator(".tile figcaption")).to_have_text("handed.png")
    rendered(page, "a red star", width="", height="")
    width, height = (int(side) for side in re.findall(r"\d+", page.locator("#facts div").first.inner_text()))

    assert width / height == pytest.approx(40 / 80, rel=0.1)


def test_a_pasted_picture_fills_the_first_tile_that_is_empty(
    address: str, open_page: Callable[..., Page], picture: Path
) -> None:
    page = open_page(address)
    begin_with(page, "First & last")
    paste = (
        "transfer => document.dispatchEvent(new ClipboardEvent('paste', { clipboardData: transfer, bubbles: true }))"
    )
    for count in (1, 2):
        page.evaluate_handle(TRANSFER, list(picture.read_bytes())).evaluate(paste)
        expect(page.locator(".tile.filled")).to_have_count(count)


def test_a_text_job_never_inherits_a_picture(address: str, open_page: Callable[..., Page], picture: Path) -> None:
    page = open_page(address)
    begin_with(page, "Picture")
    page.get_by_label("First picture").set_input_files(picture)
    expect(page.locator(".tile.filled")).to_be_visible()
    begin_with(page, "Text")
    fill(page)
    with page.expect_request("**/generate") as request:
        press_render(page)

    assert "image" not in request.value.post_data_json


def test_what_is_no_picture_is_refused_beside_its_place(
    address: str, open_page: Callable[..., Page], tmp_path: Path
) -> None:
    (tmp_path / "notes.png").write_text("no picture")
    page = open_page(address)
    begin_with(page, "Picture")
    page.get_by_label("First picture").set_input_files(tmp_path / "notes.png")

    expect(page.locator(".tile .error")).to_contain_text("notes.png is not a picture")
    expect(page.locator(".tile.filled")).to_have_count(0)


def test_a_task_without_its_files_is_not_sent(address: str, open_page: Callable[..., Page], picture: Path) -> None:
    page = open_page(address)
    begin_with(page, "Sound")
    page.get_by_label("First picture").set_input_files(picture)
    fill_prompt = page.get_by_label("Prompt", exact=True)
    fill_prompt.fill("a face speaks")
    press_render(page)

    expect(page.locator('.tile[data-name="audio"] .error')).to_contain_text("Choose a sound.")
    expect(page.locator('.tile[data-name="audio"] input')).to_be_focused()


def test_a_draft_and_its_picture_outlive_a_reload(address: str, open_page: Callable[..., Page], picture: Path) -> None:
    page = open_page(address)
    begin_with(page, "Picture")
    page.get_by_label("First picture").set_input_files(picture)
    fill(page, "\u05e9\u05dc\u05d5\u05dd kept", steps="9")
    expect(page.locator(".tile.filled")).to_be_visible()
    page.reload()

    expect(page.get_by_label("Prompt", exact=True)).to_have_value("\u05e9\u05dc\u05d5\u05dd kept")
    expect(page.locator(".tile figcaption")).to_have_text("tall.png")
    unfold(page)
    expect(page.locator('#advanced [name="steps"]')).to_have_value("9")
    assert page.get_by_label("Prompt", exact=True).get_attribute("dir") == "auto"


def test_what_was_written_can_be_had_again_after_a_reset(
    address: str, open_page: Callable[..., Page], picture: Path
) -> None:
    page = open_page(address)
    prompt = page.get_by_label("Prompt", exact=True)
    begin_with(page, "Picture")
    page.locator('.tile input[type="file"]').set_input_files(picture)
    expect(page.locator(".tile figcaption")).to_be_visible()
    prompt.fill("a long description")
    page.get_by_role("button", name="Reset everything").click()
    expect(prompt).to_have_value("")
    expect(page.locator(".tile figcaption")).to_have_count(0)
    page.get_by_role("button", name="Undo").click()

    expect(prompt).to_have_value("a long description")
    expect(page.locator(".tile figcaption")).to_be_visible()


def test_a_value_out_of_range_is_named_before_it_is_sent(address: str, open_page: Callable[..., Page]) -> None:
    page = open_page(address)
    fill(page, steps="201")
    page.locator("#advanced > summary").click()
    press_render(page)
    steps = page.locator('#advanced [name="steps"]')

    expect(page.locator("#advanced")).to_contain_text("From 1 to 200.")
    expect(steps).to_have_attribute("aria-invalid", "true")
    expect(steps).to_be_focused()


def test_the_servers_own_refusal_stands_beside_its_field(address: str, open_page: Callable[..., Page]) -> None:
    page = open_page(address)
    fill(page, seed=str(2**64))
    press_render(page)

    expect(page.locator(".seed .error")).to_contain_text("seed")


def test_an_engine_that_is_not_there_is_told_beside_the_choice(address: str, open_any: Callable[..., Page]) -> None:
    page = open_any(address)
    fill(page)
    page.get_by_label("Engine").select_option("runpod")
    page.locator("#advanced > summary").click()
    press_render(page)

    expect(page.locator("#advanced .error:not(:empty)")).to_contain_text("runpod")
    expect(page.get_by_label("Engine")).to_be_focused()


def test_a_refusal_of_a_field_without_a_place_for_it_is_told_below(address: str, open_any: Callable[..., Page]) -> None:
    names = ["seconds", "loras", "profile"]
    refusals = [{"error": f"{name} is refused.", "hint": "Else.", "field": name} for name in names]
    page = open_any(address)
    page.route("**/generate", lambda route: route.fulfill(status=422, json=refusals.pop(0)))
    fill(page)
    for name in names:
        press_render(page)
        expect(page.locator("#form-error")).to_have_text(f"{name} is refused. Else.")


def test_a_frame_rate_that_is_not_on_the_screen_is_not_sent(
    address: str, open_any: Callable[..., Page], picture: Path, tmp_path: Path
) -> None:
    with wave.open(str(tmp_path / "a.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(1600))
    page = open_any(address)
    fill(page, fps="9999")
    begin_with(page, "Sound")
    page.get_by_label("First picture").set_input_files(picture)
    page.locator('.tile[data-name="audio"] input').set_input_files(tmp_path / "a.wav")
    expect(page.locator(".tile.filled")).to_have_count(2)
    refusal = {"error": "fps is refused.", "field": "fps"}
    page.route("**/v2/page/run", lambda route: route.fulfill(status=422, json=refusal))
    with page.expect_request("**/v2/page/run") as request:
        press_render(page)

    assert "fps" not in request.value.post_data_json["input"]
    expect(page.locator("#form-error")).to_have_text("fps is refused.")


def test_a_seed_beyond_javascripts_numbers_arrives_exactly(address: str, open_page: Callable[..., Page]) -> None:
    page = open_page(address)
    fill(page, seed=str(2**64 - 1))
    with page.expect_response("**/generate") as answer:
        press_render(page)

    assert answer.value.json()["seed"] == 2**64 - 1


def test_a_seed_that_is_not_kept_is_left_to_the_server(address: str, open_page: Callable[..., Page]) -> None:
    page = open_page(address)
    fill(page, seed="12", steps="")
    page.get_by_role("button", name="Keep this seed").click()
    with page.expect_request("**/generate") as request:
        press_render(page)

    assert {"seed", "steps"} & request.value.post_data_json.keys() == set()
    assert request.value.post_data_json["width"] == 128


def test_presets_say_what_they_stand_for_and_are_sent(address: str, open_page: Callable[..., Page]) -> None:
    page = open_page(address)
    page.get_by_role("radio", name="Tall").check(force=True)
    page.get_by_role("radio", name="720p").check(force=True)
    page.get_by_role("radio", name="2 s", exact=True).check(force=True)
    expect(page.locator("#plan")).to_contain_text("704 \u00d7 1280 \u00b7 2\u00a0s, 49 frames at 24 fps")
    page.get_by_label("Prompt", exact=True).fill("a star")
    page.route("**/generate", lambda route: route.fulfill(status=503, json={"error": "Not now.", "hint": ""}))
    with page.expect_request("**/generate") as request:
        press_render(page)
    sent = request.value.post_data_json

    assert [sent[name] for name in ("width", "height", "length", "fps")] == [704, 1280, 49, 24]
    expect(page.locator("#form-error")).to_have_text("Not now.")


def test_a_negative_prompt_without_guidance_is_said_to_do_nothing(address: str, open_page: Callable[..., Page]) -> None:
    page = open_page(address)
    unfold(page)
    page.get_by_label("Negative prompt").fill("blurry")
    page.get_by_label("Guidance").fill("1")
    expect(page.locator("#negative-note")).to_be_visible()
    page.get_by_label("Guidance").fill("3.5")

    expect(page.locator("#negative-note")).to_be_hidden()


def test_width_and_height_are_swapped(address: str, open_page: Callable[..., Page]) -> None:
    page = open_page(address)
    unfold(page)
    page.get_by_role("button", name="Swap").click()

    expect(page.get_by_label("Width")).to_have_value("480")
    expect(page.get_by_label("Height")).to_have_value("832")


#: The hint is for programs. The button says the same to people.
FULL = {"error": "The queue is full.", "hint": "Send the request again after the time in Retry-After."}


def test_a_full_queue_is_said_and_waited_for(address: str, open_page: Callable[..., Page]) -> None:
    page = open_page(address)

    def refuse(route: Route) -> None:
        route.fulfill(status=429, headers={"Retry-After": "4"}, json=FULL)

    page.route("**/generate", refuse)
    fill(page)
    press_render(page)

    expect(page.locator("#form-error")).to_have_text("The queue is full.")
    expect(page.locator("#render")).to_have_text(re.compile(r"Render in \d s"))
    expect(page.locator("#render")).to_have_text("Render")


def test_what_the_server_plans_is_shown_where_it_tells(address: str, open_page: Callable[..., Page]) -> None:
    plan = {
        "engine": "diffusers",
        "model": "Wan2.2-TI2V-5B",
        "size": "832*480",
        "frames": 121,
        "recipe": {"name": "the task's own numbers", "steps": 50, "guidance": 5.0},
        "placement": None,
        "warnings": ["steps were set."],
        "seconds": 42,
        "cost": None,
    }
    page = open_page(address)

    def answer(route: Route) -> None:
        price = route.request.post_data_json.get("price_per_hour")
        route.fulfill(json={**plan, "cost": price and 42 * price / 3600})

    page.route(re.compile(r"/plan\b"), answer)
    page.get_by_label("Prompt", exact=True).fill("a star")

    expect(page.locator("#plan")).to_contain_text(
        "diffusers, Wan2.2-TI2V-5B \u00b7 the task's own numbers \u00b7 about 42\u00a0s"
    )
    expect(page.locator("#plan")).to_contain_text("steps were set.")
    unfold(page)
    expect(page.locator('#advanced [name="steps"]')).to_have_attribute("placeholder", "50")
    page.get_by_label("Price per hour").fill("1.5")
    expect(page.locator("#plan")).to_contain_text("costs about 0.018")
    page.route("**/generate", lambda route: route.fulfill(status=503, json={"error": "Not now.", "hint": ""}))
    with page.expect_request("**/generate") as request:
        press_render(page)
    assert not {"price", "price_per_hour"} & set(request.value.post_data_json)


def test_remarks_are_open_until_they_were_read(serve: Callable[..., str], open_page: Callable[..., Page]) -> None:
    page = open_page(serve())  # a server of its own: the remarks of an earlier job would be read as the page opens
    rendered(page, "a red star")
    expect(page.locator("#warnings[open]")).to_be_visible()
    fill(page, "a red star")
    job_id = send(page)
    expect(recent(page, job_id)).to_have_attribute("data-state", "ready", timeout=90_000)
    expect(page.locator("#warnings")).to_be_visible()

    expect(page.locator("#warnings[open]")).to_have_count(0)


def test_loras_are_picked_from_what_the_volume_has_and_go_by_runpods_route(
    address: str, open_page: Callable[..., Page]
) -> None:
    models = {"models": {"loras": ["sketch_high_noise.safetensors", "ink.safetensors"]}, "source": "folders"}
    page = open_page(address)
    answers = [{"models": {}}, models]
    page.route("**/runsync", lambda route: route.fulfill(json={"status": "COMPLETED", "output": answers.pop(0)}))
    page.route("**/v2/page/run", lambda route: route.fulfill(status=503, json={"error": "Not now.", "hint": ""}))
    page.get_by_role("button", name="Add a LoRA").click()
    expect(page.locator(".loras")).to_contain_text("There is no LoRA yet.")
    page.get_by_role("button", name="Look again").click()
    page.get_by_label("Add a LoRA").select_option("ink.safetensors")
    page.get_by_label("Strength of ink.safetensors").fill("0.75")
    page.get_by_label("Prompt", exact=True).fill("a star in ink")
    with page.expect_request("**/v2/page/run") as request:
        press_render(page)

    assert request.value.post_data_json["input"]["loras"] == [{"high": "ink.safetensors", "strength": 0.75}]
    expect(page.locator("#form-error")).to_have_text("Not now.")
    page.get_by_role("button", name="Remove ink.safetensors").click()
    expect(page.get_by_label("Add a LoRA").locator("option")).to_have_count(3)
