"""A visitor renders, watches, plays, downloads, varies, cancels and deletes videos."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from playwright.sync_api import Page, Route, expect

from fakes.visitor import PROMPT, RENDER_MS, fill, plays, press_render, recent, rendered, send, unfold, violations

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


def status_of(address: str, job_id: str, **headers: str) -> dict[str, Any]:
    answer: dict[str, Any] = httpx.get(f"{address}/status/{job_id}", headers=headers, trust_env=False).json()
    return answer


def until_gone(page: Page, address: str, job_id: str) -> None:
    """Wait until the server has no such job any more."""
    gone = "async url => (await fetch(url)).status === 404"
    page.wait_for_function(gone, arg=f"{address}/status/{job_id}", timeout=30_000)


def test_a_video_is_asked_for_watched_played_and_downloaded(
    serve: Callable[..., str], open_page: Callable[..., Page], tmp_path: Path
) -> None:
    address = serve()
    page = open_page(address)
    expect(page.locator("#server-text")).to_have_text("mini \u00b7 ready")
    page.locator("#examples button").first.click()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value(PROMPT)
    fill(page, steps="100")  # a machine twice as fast shows enough of them, too
    job_id = send(page)
    expect(page.locator("#run")).to_be_visible()
    seen: list[float] = []
    look = """id => [
        document.querySelector(`#recent [data-id="${id}"]`).dataset.state,
        document.getElementById("run-progress")?.getAttribute("value") ?? null,
    ]"""
    while (now := page.evaluate(look, job_id))[0] in {"waiting", "rendering"}:
        seen += [float(now[1])] if now[1] is not None else []
        page.wait_for_timeout(30)
    state = now[0]

    assert state == "ready"
    assert seen == sorted(seen)
    assert len(set(seen)) > 3

    expect(page.locator("#player")).to_be_visible()

    assert plays(page)
    assert page.locator("#player").evaluate("player => [player.videoWidth, player.videoHeight]") == [128, 64]

    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    download.value.save_as(tmp_path / "video.mp4")
    after = status_of(address, job_id)

    expect(page.locator(".toasts")).to_contain_text("The server keeps its copy.")
    assert (tmp_path / "video.mp4").stat().st_size == after["video"]["size_bytes"]
    assert after["video_ready"] is True, "what is asked for by ranges stays"


def test_with_a_key_the_page_asks_for_it_and_plays_and_downloads(
    serve: Callable[..., str], open_page: Callable[..., Page]
) -> None:
    address = serve(WAN_API_KEY="open sesame")
    page = open_page(address)
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Key").fill("wrong")
    dialog.get_by_role("button", name="Use this key").click()
    expect(dialog).to_contain_text("refused this key")
    dialog.get_by_label("Key").fill("open sesame")
    dialog.get_by_role("button", name="Use this key").click()
    expect(page.locator("#server-text")).to_have_text("mini \u00b7 ready")
    job_id = rendered(page)

    assert plays(page)
    with page.expect_download():
        page.get_by_role("button", name="Download").click()
    assert status_of(address, job_id, Authorization="Bearer open sesame")["video_ready"] is True
    expect(recent(page, job_id).locator("img")).to_be_visible()
    page.reload()
    expect(page.locator("#player")).to_be_visible()
    expect(dialog).to_be_hidden()


def test_a_running_job_is_cancelled_and_the_waiting_one_gets_its_turn(
    address: str, open_page: Callable[..., Page]
) -> None:
    page = open_page(address)
    fill(page, "a blue ball falls", steps="200")
    running = send(page)
    expect(recent(page, running)).to_have_attribute("data-state", "rendering", timeout=RENDER_MS)
    fill(page, "a pink heart grows")
    waiting = send(page)
    expect(page.locator("#run-text")).to_have_text("Waiting, number 1 in the queue")

    recent(page, running).get_by_role("button").click()
    page.get_by_role("button", name="Cancel").click()

    expect(recent(page, running)).to_have_count(0)
    expect(recent(page, waiting)).to_have_attribute("data-state", "ready", timeout=RENDER_MS)


def test_deleting_can_be_undone_until_the_server_is_told(address: str, open_page: Callable[..., Page]) -> None:
    page = open_page(address)
    asked: list[str] = []
    page.on("request", lambda request: request.method == "DELETE" and asked.append(request.url))
    job_id = rendered(page)
    page.get_by_role("button", name="Delete").click()
    expect(recent(page, job_id)).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    expect(recent(page, job_id)).to_be_visible()
    expect(page.get_by_role("button", name="Undo")).to_have_count(0)

    recent(page, job_id).get_by_role("button").click()
    page.get_by_role("button", name="Delete").click()
    page.locator("#about-prompt, #view").first.press("Control+z")
    expect(recent(page, job_id)).to_be_visible()

    assert (asked, status_of(address, job_id)["video_ready"]) == ([], True)

    recent(page, job_id).get_by_role("button").click()
    page.get_by_role("button", name="Delete").click()
    until_gone(page, address, job_id)


def test_who_leaves_the_page_has_not_undone_what_was_deleted(address: str, open_page: Callable[..., Page]) -> None:
    page = open_page(address)
    job_id = rendered(page)
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("button", name="Undo")).to_be_visible()
    page.locator(".toasts").evaluate(WITHOUT_MOTION)
    assert violations(page) == []
    page.reload()

    until_gone(page, address, job_id)
    expect(recent(page, job_id)).to_have_count(0)


#: Pass over how the news comes in: half transparent they have less contrast.
WITHOUT_MOTION = "place => place.getAnimations({ subtree: true }).forEach(each => each.finish())"

#: Whether nothing is painted over an element.
IS_ABOVE_ALL = """place => {
    const { left, top, height } = place.getBoundingClientRect();
    return place.contains(document.elementFromPoint(left + 4, top + height / 2));
}"""

#: What the page asks for over and over.
LISTING = re.compile(r"/jobs\?")


def test_without_the_stream_of_events_progress_comes_by_asking(address: str, open_page: Callable[..., Page]) -> None:
    page = open_page(address)
    page.route(re.compile("/events/"), lambda route: route.abort())
    fill(page, "a grey cube rolls")
    job_id = send(page)
    halfway = {"status": "processing", "stage": "sampling", "step": 3, "steps": 8, "progress": 42}

    def answer_halfway(route: Route) -> None:
        found = route.fetch().json()
        found["jobs"] = [{**job, **halfway} if job["job_id"] == job_id else job for job in found["jobs"]]
        route.fulfill(json=found)

    page.route(LISTING, answer_halfway)
    page.reload()
    expect(page.locator("#run-text")).to_contain_text("step 3 of 8")
    assert page.locator("#run-text").evaluate(IS_ABOVE_ALL)
    halfway |= {"stage": "encoding", "step": 13, "steps": 121, "progress": 92}
    expect(page.locator("#run-text")).to_contain_text("Writing the video, frame 13 of 121")
    page.unroute(LISTING)

    expect(recent(page, job_id)).to_have_attribute("data-state", "ready", timeout=RENDER_MS)


def test_an_earlier_jobs_settings_are_used_again_with_its_picture(
    address: str, open_page: Callable[..., Page], tmp_path: Path
) -> None:
    Image.new("RGB", (80, 40), "red").save(tmp_path / "red.png")
    page = open_page(address)
    page.get_by_role("radio", name="Picture").check(force=True)
    page.locator('.tile input[type="file"]').set_input_files(tmp_path / "red.png")
    rendered(page, "a tiny yellow square", seed="123456789012345", width="", height="")
    page.get_by_role("button", name="Reset everything").click()
    page.get_by_role("radio", name="Text").check(force=True)
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("")
    fill(page, steps="201")
    page.get_by_role("button", name="Render", exact=True).click()
    expect(page.locator("#advanced")).to_contain_text("From 1 to 200.")
    page.get_by_role("button", name="Use settings").click()

    expect(page.get_by_label("Prompt", exact=True)).to_have_value("a tiny yellow square")
    expect(page.get_by_role("radio", name="Picture")).to_be_checked()
    expect(page.locator(".tile figcaption")).to_have_text("red.png")
    expect(page.locator(".seed input")).to_have_value("123456789012345")
    expect(page.locator("#advanced")).not_to_contain_text("From 1 to 200.")


def test_a_video_is_made_again_with_another_seed(address: str, open_page: Callable[..., Page]) -> None:
    page = open_page(address)
    first = rendered(page, seed="7")
    with page.expect_response("**/generate") as answer:
        page.get_by_role("button", name="Another seed").click()
    again = answer.value.json()

    assert again["job_id"] != first
    assert (again["seed"] != 7, again["steps"], again["width"]) == (True, 2, 128)


def test_another_models_task_goes_by_runpods_route_and_comes_back_as_a_job(
    address: str, open_page: Callable[..., Page]
) -> None:
    page = open_page(address)
    unfold(page)
    page.locator("#model").select_option("t2v-A14B")
    fill(page, "a blue heart grows")
    with page.expect_response("**/v2/page/run") as answer:
        page.get_by_role("button", name="Render", exact=True).click()
    sent = answer.value.request.post_data_json["input"]
    job_id = sent["request_id"]
    expect(recent(page, job_id)).to_have_attribute("data-state", "ready", timeout=RENDER_MS)
    expect(page.locator("#player")).to_be_visible()

    assert (sent["task"], sent["size"], sent["frame_num"]) == ("t2v-A14B", "128*64", 17)
    assert status_of(address, job_id)["prompt"] == "a blue heart grows"


def test_what_waits_on_that_route_outlives_a_reload_and_ends_as_a_job(
    address: str, open_page: Callable[..., Page]
) -> None:
    page = open_page(address)
    waits = re.compile("/v2/page/status/")
    # The server has no record of a run before its turn: so it stays for as long as this holds.
    unknown = [re.compile(r"/jobs\?"), re.compile("/status/[^/]+$")]
    page.route(waits, lambda route: route.fulfill(json={"id": "run", "status": "IN_QUEUE"}))
    for path in unknown:
        page.route(path, lambda route: route.fallback() if waits.search(route.request.url) else empty(route))
    page.locator("#model").select_option("t2v-A14B")
    fill(page, "a blue heart grows")
    with page.expect_response("**/v2/page/run") as answer:
        press_render(page)
    job_id = answer.value.request.post_data_json["input"]["request_id"]
    expect(recent(page, job_id)).to_have_attribute("data-state", "waiting")
    page.reload()

    expect(recent(page, job_id)).to_have_attribute("data-state", "waiting")
    expect(page.locator("#about-prompt")).to_have_text("a blue heart grows")

    page.unroute_all()

    expect(recent(page, job_id)).to_have_attribute("data-state", "ready", timeout=RENDER_MS)
    page.wait_for_function("() => localStorage.getItem('wanworker-runs') === '[]'")


def empty(route: Route) -> None:
    """Answer as a server without a job does."""
    if "/jobs" in route.request.url:
        return route.fulfill(json={"jobs": [], "total": 0, "next_cursor": None})
    return route.fulfill(status=404, json={"error": "There is no such job."})


def test_what_that_route_refuses_is_said_on_the_page(address: str, open_page: Callable[..., Page]) -> None:
    page = open_page(address)
    page.locator("#model").select_option("t2v-A14B")
    fill(page)
    page.locator('#advanced select[name="engine"]').select_option("wan_cli")
    page.get_by_role("button", name="Render", exact=True).click()

    expect(page.locator("#screen-text")).to_contain_text("No video was made")
    expect(page.locator("#form-error")).not_to_be_empty()


def test_a_link_opens_its_job_and_says_where_there_is_none(address: str, open_page: Callable[..., Page]) -> None:
    page = open_page(address)
    job_id = rendered(page)
    other = open_page(f"{address}/ui/#job/{job_id}")
    expect(other.locator("#about-prompt")).to_have_text(PROMPT)
    expect(other.locator("#player")).to_be_visible()
    held: list[Route] = []
    other.route("**/status/no-such-job", lambda route: held.append(route))
    other.goto(f"{address}/ui/#job/no-such-job")

    expect(other.locator("#screen-text")).to_have_text("Loading the video")

    other.unroute_all()
    other.reload()

    expect(other.locator("#screen-text")).to_contain_text("There is no such job")
