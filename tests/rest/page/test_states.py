"""Jobs as they come from elsewhere: failed with much to say, in any script, more than a strip has room for."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from fakes.visitor import press_render, violations

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

ERROR = "The GPU ran out of memory: " + "81 frames of 1280*720 need more than the card has. " * 4
HINT = "Use fewer frames or a smaller size."
ARABIC = "\u0642\u0637\u0629 \u062d\u0645\u0631\u0627\u0621 " * 3
FAILURE = {"status": "error", "progress": 0, "error": ERROR, "hint": HINT, "code": "OUT_OF_MEMORY"}
GONE = {"status": "completed", "progress": 100}


def job(number: int, prompt: str, **state: Any) -> dict[str, Any]:
    common = {"video_ready": False, "warnings": [], "timings": {}, "created_at": 1e9 + number}
    return {**common, "job_id": f"job{number}", "prompt": prompt, **(state or GONE)}


JOBS = [
    job(20, "a star", **FAILURE),
    job(19, ARABIC),
    job(18, "word " * 1900),
    *(job(number, f"star {number}") for number in range(17, 0, -1)),
]


@pytest.fixture
def open_jobs(address: str, open_page: Callable[..., Page]) -> Callable[[str], Page]:
    """Return a function that opens a view of a server with JOBS."""

    def open_(view: str) -> Page:
        page = open_page(f"{address}/ui/icon.svg")
        listing = {"jobs": JOBS, "total": len(JOBS), "next_cursor": None}
        page.route(re.compile(r"/jobs\?"), lambda route: route.fulfill(json=listing))
        page.route("**/thumbnail/*", lambda route: route.abort())
        page.goto(f"{address}/ui/#{view}")
        expect(page.locator("#jobs, #recent")).to_be_visible()  # nothing moves from now on
        return page

    return open_


def test_the_whole_reason_of_a_failure_is_on_the_stage_and_the_way_on_by_itself(
    open_jobs: Callable[[str], Page],
) -> None:
    page = open_jobs("job/job20")
    words = page.locator("#screen-text")

    expect(words.locator("p")).to_have_text(["No video was made", ERROR.strip(), HINT])
    assert words.evaluate("words => words.scrollHeight - words.clientHeight") == 0
    assert page.locator("#screen").evaluate("screen => screen.scrollHeight - screen.clientHeight") == 0
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
    assert violations(page) == []


def test_the_strip_shows_the_chosen_job_and_is_passed_by_with_one_key(open_jobs: Callable[[str], Page]) -> None:
    page = open_jobs("job/job10")
    expect(page.locator("#recent [aria-current]")).to_be_in_viewport(ratio=1)
    page.locator("#key-button").focus()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Skip to the prompt")).to_be_focused()
    page.keyboard.press("Enter")

    expect(page.get_by_label("Prompt", exact=True)).to_be_focused()


def test_a_card_says_why_there_is_no_video_and_keeps_to_its_script(open_jobs: Callable[[str], Page]) -> None:
    page = open_jobs("gallery")
    expect(page.locator('[data-id="job20"] .thumb')).to_contain_text("The GPU ran out of memory")
    arabic = page.locator('[data-id="job19"] .card-name')

    assert arabic.evaluate("name => [getComputedStyle(name).direction, getComputedStyle(name).textAlign]") == [
        "rtl",
        "start",
    ]
    # What has the name of a button is read out as a whole.
    assert len(page.locator('[data-id="job18"] .card-open').inner_text()) < 300
    assert violations(page) == []


def test_keys_with_ctrl_or_alt_are_left_to_the_browser(open_jobs: Callable[[str], Page]) -> None:
    page = open_jobs("gallery")
    card = page.locator('[data-id="job19"] .card-open')
    for keys in ("Alt+ArrowLeft", "Control+Delete", "Control+c"):
        card.focus()
        page.keyboard.press(keys)
        expect(card).to_be_focused()
    page.keyboard.press("ArrowLeft")

    expect(page.locator('[data-id="job20"] .card-open')).to_be_focused()


def test_a_refused_file_leaves_its_places_name_to_be_read(open_jobs: Callable[[str], Page]) -> None:
    page = open_jobs("create")
    page.get_by_role("radio", name="First & last").check(force=True)
    wrong = {"name": "a long name of a file that is none.txt", "mimeType": "text/plain", "buffer": b"no picture"}
    page.get_by_label("First picture").set_input_files(wrong)
    tile = page.locator('.tile[data-name="image"]')
    expect(tile.locator(".error")).to_contain_text("is not a picture")
    label, error = tile.locator(".drop-label").bounding_box(), tile.locator(".error").bounding_box()

    assert label
    assert error
    assert label["y"] + label["height"] <= error["y"]


def test_numbers_side_by_side_stand_in_line(open_jobs: Callable[[str], Page]) -> None:
    page = open_jobs("create")
    page.locator("#advanced > summary").click()
    page.locator("#advanced [name=fps]").fill("999")
    press_render(page)
    expect(page.locator("#advanced")).to_contain_text("From 1 to 120.")
    tops = page.locator("#advanced .numbers input").evaluate_all("all => all.map(each => each.offsetTop)")

    assert tops[::2] == tops[1::2]
