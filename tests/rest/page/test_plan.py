"""The numbers that the page shows are those that will run, whatever is chosen."""

from __future__ import annotations

import contextlib
import itertools
import re
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from playwright.sync_api import Error, Page, Route, expect

from fakes.comfyui_wan import WanServer
from fakes.engine import write_clip
from fakes.in_thread import in_thread
from fakes.visitor import press_render, unfold, violations

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

#: The fields of Advanced whose numbers are the recipe's, with its names for them.
NUMBERS = {"steps": "steps", "cfg": "guidance", "shift": "shift"}

FASTWAN = "Wan2_2_5B_FastWanFullAttn_lora_rank_128_bf16.safetensors"
LORA = "ink.safetensors"

#: What a video begins with, its tiles, and the models to choose from.
MODES = {
    "Text": ((), ("ti2v-5B", "t2v-A14B")),
    "Picture": (("image",), ("ti2v-5B", "i2v-A14B")),
    "First & last": (("image", "last_image"), ("i2v-A14B",)),
    "Sound": (("image", "audio"), ("s2v-14B",)),
    "Motion": (("image", "driving_video"), ("animate-14B",)),
}

#: A profile, an engine and a LoRA each.
CHOICES = [("", "", False), ("fast", "", False), ("exact", "", False), ("", "mini", False), ("", "", True)]


@pytest.fixture
def media(tmp_path: Path) -> dict[str, Path]:
    """Return a file for each tile."""
    Image.new("RGB", (160, 96), "red").save(tmp_path / "first.png")
    Image.new("RGB", (160, 96), "blue").save(tmp_path / "last.png")
    with wave.open(str(tmp_path / "sound.wav"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(16_000)
        sound.writeframes(bytes(32_000))
    return {
        "image": tmp_path / "first.png",
        "last_image": tmp_path / "last.png",
        "audio": tmp_path / "sound.wav",
        "driving_video": write_clip(tmp_path / "film.mp4"),
    }


@pytest.fixture(scope="module")
def comfyui_address(serve: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of a server that renders on a ComfyUI with FastWAN, and has one LoRA more."""
    comfyui = WanServer(tmp_path_factory.mktemp("comfyui"))
    comfyui.models["loras"] += [FASTWAN, LORA]
    with in_thread(comfyui):
        yield serve(COMFYUI_URL=comfyui.url, WAN_ENGINE="comfyui", WAN_MINI="1")


def choose(page: Page, profile: str, engine: str, *, has_lora: bool) -> None:
    """Set the choices under which the numbers may differ."""
    label = {"": "Server's choice", "fast": "Fast", "exact": "Exact"}[profile]
    page.get_by_role("radio", name=label, exact=True).check(force=True)
    page.locator('#advanced [name="engine"]').select_option(engine)
    added = page.get_by_role("button", name=f"Remove {LORA}")
    if has_lora and not added.count():
        page.get_by_label("Add a LoRA").select_option(LORA)
    elif added.count() and not has_lora:
        added.click()


def planned(page: Page, words: str) -> dict[str, Any]:
    """Describe the video in *words* that no plan had yet, and return the plan that the page gets for them."""
    with page.expect_response(
        lambda answer: "/plan" in answer.url and words in (answer.request.post_data or "")
    ) as plan:
        page.get_by_label("Prompt", exact=True).fill(words)
    found: dict[str, Any] = plan.value.json()
    return found


def of_what_is_sent(page: Page, address: str) -> dict[str, Any] | None:
    """Press Render, and return the plan of what is sent; None for a form, which holds a file."""
    with page.expect_request(re.compile(r"/generate$|/v2/page/run$")) as request:
        press_render(page)
    expect(page.locator("#form-error")).to_have_text("Not now.")
    if "json" not in request.value.headers["content-type"]:
        return None
    body = request.value.post_data_json
    path = "/plan" if "input" in body else "/plan?for=generate"
    plan: dict[str, Any] = httpx.post(address + path, json=body.get("input", body), trust_env=False, timeout=60).json()
    return plan


def written(number: float) -> str:
    """Return a number as JavaScript writes it."""
    return f"{number:.10g}"


def look(page: Page, address: str, words: str) -> tuple[str, float, float]:
    """
    Hold the numbers on the page against the plan of what is sent.

    Return the engine, "refused" where none would, the steps and the guidance.
    """
    plan = planned(page, words)
    recipe = plan.get("recipe")
    for name, key in NUMBERS.items():
        field = page.locator(f'#advanced [name="{name}"]')
        expect(field).to_have_attribute("placeholder", written(recipe[key]) if recipe else "engine's")
    if "error" in plan:
        expect(page.locator("#plan")).to_contain_text(plan["error"])
        return "refused", 0, 0
    sent = of_what_is_sent(page, address)
    assert sent is None or (sent["engine"], sent["recipe"]) == (plan["engine"], recipe)
    return plan["engine"], recipe["steps"], recipe["guidance"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("server", ["address", "comfyui_address"])
def test_the_numbers_shown_are_those_that_will_run(
    server: str, mode: str, request: pytest.FixtureRequest, open_any: Callable[..., Page], media: dict[str, Path]
) -> None:
    address = request.getfixturevalue(server)
    has_comfyui = server == "comfyui_address"
    tiles, models = MODES[mode]
    page = open_any(address)
    busy = {"error": "Not now.", "hint": ""}
    page.route(re.compile(r"/generate$|/v2/page/run$"), lambda route: route.fulfill(status=503, json=busy))
    unfold(page)
    page.get_by_role("radio", name=mode, exact=True).check(force=True)
    for tile in tiles:
        page.locator(f'.tile[data-name="{tile}"] input').set_input_files(media[tile])
        expect(page.locator(f'.tile.filled[data-name="{tile}"]')).to_be_visible()
    if has_comfyui:
        page.get_by_role("button", name="Add a LoRA").click()
    found = {}
    for model, (profile, engine, has_lora) in itertools.product(models, CHOICES):
        if (has_lora and not has_comfyui) or (engine and has_comfyui):
            continue
        if len(models) > 1:
            page.locator("#model").select_option(model)
        choose(page, profile, engine, has_lora=has_lora)
        found[model, profile, has_lora] = look(page, address, f"a red star {len(found)}")

    if has_comfyui and "ti2v-5B" in models:
        assert found["ti2v-5B", "", False] == ("comfyui", 8, 1), "FastWAN's"
        assert found["ti2v-5B", "", True][1:] != (8, 1), "a LoRA of one's own goes to the model itself"
    assert len(found) >= 3 * len(models)
    # ComfyUI follows no film for this task. The page says so before anything is sent.
    engine = "mini" if not has_comfyui else "refused" if mode == "Motion" else "comfyui"
    assert {engine for engine, _, _ in found.values()} == {engine}


def test_a_plan_that_is_refused_says_why_before_it_is_sent(address: str, open_any: Callable[..., Page]) -> None:
    page = open_any(address)
    unfold(page)
    page.locator('#advanced [name="engine"]').select_option("wan_cli")

    expect(page.locator("#plan [data-refused]")).to_contain_text("not found")
    expect(page.locator("#plan .remarks")).to_contain_text("wan_cli")
    expect(page.locator('#advanced [name="steps"]')).to_have_attribute("placeholder", "engine's")


@pytest.mark.parametrize(
    ("engine", "said"),
    [("", "The prompt names nothing that the miniature can draw"), ("wan_cli", "wan_cli")],
    ids=["remarks", "refusal"],
)
def test_a_plan_with_much_to_say_leaves_the_form_its_room(
    address: str, open_page: Callable[..., Page], engine: str, said: str
) -> None:
    page = open_page(address)
    if page.viewport_size and page.viewport_size["width"] > 1000:
        page.set_viewport_size({"width": 1040, "height": 760})  # the least with the settings beside the stage
    unfold(page)
    page.locator('#advanced [name="engine"]').select_option(engine)
    page.get_by_label("Prompt", exact=True).fill("a photograph of an old man, cinematic")
    expect(page.locator("#plan summary")).to_contain_text(said)
    button, foot = (page.locator(place).bounding_box() for place in ("#render", ".composer-foot"))
    screen = page.viewport_size
    assert button
    assert foot
    assert screen

    assert button["width"] > 2 * button["height"], "its word stands in one line"
    assert foot["height"] < screen["height"] / 4
    assert page.locator(".centre").evaluate("place => place.scrollWidth <= place.clientWidth")
    assert violations(page) == []


def test_a_plan_of_other_choices_is_not_shown_and_a_late_one_changes_nothing(
    address: str, open_any: Callable[..., Page]
) -> None:
    page = open_any(address)
    more = page.locator("#plan .plan-more")
    expect(more).to_contain_text("mini")
    held: list[Route] = []
    page.route(re.compile("/plan"), lambda route: held.append(route))
    with page.expect_request(re.compile("/plan")):
        page.get_by_role("radio", name="720p").check(force=True)
    expect(more).to_have_text("\u2026")
    with page.expect_request(re.compile("/plan")):
        page.get_by_role("radio", name="Tall").check(force=True)
    expect(more).to_have_text("\u2026")
    for engine, route in zip(("newer", "older"), reversed(held), strict=True):
        with contextlib.suppress(Error):  # the page has given up the older one
            route.fulfill(json={"engine": engine, "warnings": []})
        expect(more).to_have_text("newer")


def test_the_numbers_are_there_before_a_word_is_written(address: str, open_any: Callable[..., Page]) -> None:
    page = open_any(address)

    expect(page.locator('#advanced [name="steps"]')).to_have_attribute("placeholder", re.compile(r"^\d+$"))
    expect(page.locator("#plan")).not_to_contain_text("word")


def test_a_long_sound_is_not_sent_just_to_ask(
    address: str, open_any: Callable[..., Page], media: dict[str, Path]
) -> None:
    media["audio"].write_bytes(media["audio"].read_bytes() + bytes(5_000_000))
    page = open_any(address)
    asked: list[str] = []
    page.on("request", lambda request: "/plan" in request.url and asked.append(request.post_data or ""))
    page.get_by_label("Prompt", exact=True).fill("a face speaks")
    page.get_by_role("radio", name="Sound", exact=True).check(force=True)
    for tile in ("image", "audio"):
        page.locator(f'.tile[data-name="{tile}"] input').set_input_files(media[tile])
        expect(page.locator(f'.tile.filled[data-name="{tile}"]')).to_be_visible()
    expect(page.locator('#advanced [name="steps"]')).to_have_attribute("placeholder", "engine's")
    page.get_by_role("radio", name="Text", exact=True).check(force=True)
    expect(page.locator('#advanced [name="steps"]')).not_to_have_attribute("placeholder", "engine's")

    assert [len(body) for body in asked if "audio_base64" in body] == []
