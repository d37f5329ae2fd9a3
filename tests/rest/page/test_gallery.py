"""The gallery: thousands of jobs, search, filters, playing, comparing, and deleting by keyboard."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, Route, expect

from fakes.engine import write_clip
from fakes.rest_server import serving
from fakes.visitor import violations
from wanworker.jobs.model import JobError, JobStatus, Output
from wanworker.jobs.store.job_store import JobRequest, JobStore

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

COUNT = 2000
#: Every hundredth of the jobs failed, and the one before it was cancelled.
FAILED, CANCELLED = COUNT // 100, COUNT // 100


def fill_with_jobs(folder: Path) -> None:
    """Write the records and the videos of COUNT jobs, as any door leaves them."""
    clip = write_clip(folder / "clip.mp4", width=832, height=480)
    store = JobStore(folder / "jobs")
    for number in range(COUNT):
        request_id = f"job{number}"
        prompt = f"number {number}: a {'red' if number % 7 else 'golden'} star over the sea"
        job = store.claim(JobRequest(request_id, "generate", "0" * 64, prompt=prompt, seed=number)).job
        if number % 100 == 0:
            store.update(job, status=JobStatus.ERROR, error=JobError("ENGINE_FAILED", "It broke.", ""))
        elif number % 100 == 99:
            store.update(job, status=JobStatus.CANCELLED, error=JobError("CANCELLED", "The job was cancelled.", ""))
        else:
            video = folder / f"{request_id}.mp4"
            os.link(clip, video)
            size = video.stat().st_size
            output = Output(str(video), "video", "video/mp4", size, "0" * 64, 832, 480, 8.0, 5, 0.625, "h264")
            store.update(job, status=JobStatus.COMPLETED, outputs=(output,), engine="mini", model="mini-wan")
    store.close()


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of a server with COUNT jobs."""
    folder = tmp_path_factory.mktemp("crowded")
    fill_with_jobs(folder)
    with serving(folder, {"OUTPUT_TTL_S": "0"}) as address:
        yield address


def open_gallery(open_page: Callable[..., Page], address: str, **options: object) -> Page:
    page = open_page(f"{address}/ui/#gallery", **options)
    expect(page.locator("#jobs > li").first).to_be_visible()
    return page


def longest_task_ms(trace: bytes) -> float:
    """Return the processor time of the longest task of a page's main thread: a busy machine does not count."""
    events = json.loads(trace)["traceEvents"]
    named = [event for event in events if event.get("name") == "thread_name"]
    main = {(event["pid"], event["tid"]) for event in named if event["args"]["name"] == "CrRendererMain"}
    tasks = [event for event in events if (event["pid"], event["tid"]) in main and "RunTask" in event.get("name", "")]
    return max(event.get("tdur", 0) / 1000 for event in tasks)


def test_two_thousand_jobs_are_light_to_open_and_scroll_without_a_stall(
    crowded: str, open_page: Callable[..., Page], chromium: Browser
) -> None:
    sizes: list[float] = []
    page = open_page("about:blank/ui")
    network = page.context.new_cdp_session(page)
    network.send("Network.enable")
    network.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    page.goto(f"{crowded}/ui/#gallery")
    expect(page.locator("#jobs img").first).to_be_visible()
    page.wait_for_load_state("networkidle")

    assert sum(sizes) < 300_000
    expect(page.locator("#total")).to_have_text(str(COUNT))

    view = page.locator("#view")
    chromium.start_tracing(page=page, categories=["toplevel"])
    for _ in range(60):
        view.evaluate("view => view.scrollBy(0, 4000)")
        page.wait_for_timeout(50)
        assert page.locator("#jobs > li").count() < 60

    assert longest_task_ms(chromium.stop_tracing()) < 100

    page.wait_for_function(
        "() => { const view = document.getElementById('view'); view.scrollTo(0, view.scrollHeight);"
        " return document.querySelector('[data-id=job0]'); }",
        polling=200,
        timeout=90_000,
    )

    expect(page.locator('[data-id="job0"] .badge')).to_have_text("Failed")
    assert page.locator('[data-id="job0"]').get_attribute("aria-posinset") == str(COUNT)


def test_a_list_that_has_not_come_is_not_called_empty(
    serve: Callable[..., str], open_page: Callable[..., Page]
) -> None:
    address = serve(WAN_API_KEY="open sesame")
    page = open_page(f"{address}/ui/icon.svg")
    held: list[Route] = []
    page.route(re.compile(r"/jobs\?"), lambda route: held.append(route))
    page.goto(f"{address}/ui/#gallery")
    nothing = page.locator(".nothing")
    expect(nothing).to_have_text("Loading the videos")
    while not held:
        page.wait_for_timeout(20)
    for route in held:
        route.continue_()
    page.unroute_all()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")

    expect(nothing).to_have_text("The videos are shown once the key is given")
    assert violations(page) == []

    page.get_by_role("button", name="API key").click()
    page.get_by_label("Key", exact=True).fill("open sesame")
    page.keyboard.press("Enter")

    expect(nothing).to_contain_text("No videos yet")


def test_who_comes_back_finds_the_place_and_the_choice_again(crowded: str, open_page: Callable[..., Page]) -> None:
    page = open_gallery(open_page, crowded)
    page.locator(".card-choose input").first.check(force=True)
    box = page.locator(".tray").bounding_box()
    assert box
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= page.evaluate("innerWidth")

    page.evaluate("document.getElementById('view').scrollTop = 1500")
    # The cards of that place are there, and the page has heard of the scrolling.
    card = page.locator("#jobs .card-open").nth(4)
    page.wait_for_function("() => document.querySelector('#jobs > li').getAttribute('aria-posinset') > 2")
    card.evaluate("card => card.click()")
    expect(page.locator("#about-prompt")).to_be_visible()
    assert page.evaluate("document.getElementById('view').scrollTop") == 0
    page.go_back()
    expect(page.locator("#jobs > li").first).to_be_visible()

    page.wait_for_function("() => document.getElementById('view').scrollTop === 1500")
    expect(page.locator(".tray")).to_be_visible()


def test_the_whole_list_is_searched_and_filtered(crowded: str, open_page: Callable[..., Page]) -> None:
    page = open_gallery(open_page, crowded)
    page.get_by_label("Search the prompts").fill("number 1234: golden")
    expect(page.locator("#total")).to_have_text("0 matches", timeout=60_000)
    page.get_by_label("Search the prompts").fill("red number 1234:")
    expect(page.locator("#jobs > li")).to_have_count(1)
    expect(page.locator("#jobs > li")).to_have_attribute("data-id", "job1234")
    page.get_by_label("Search the prompts").fill("")
    page.get_by_role("radio", name="Cancelled").check(force=True)
    expect(page.locator("#total")).to_have_text(f"{CANCELLED} matches", timeout=60_000)
    expect(page.locator("#jobs .badge").first).to_have_text("Cancelled")
    page.get_by_role("radio", name="Failed").check(force=True)

    expect(page.locator("#total")).to_have_text(f"{FAILED} matches")


def test_pointing_at_a_video_plays_it_and_leaves_it_on_the_server(crowded: str, open_page: Callable[..., Page]) -> None:
    page = open_gallery(open_page, crowded)
    asked: list[str | None] = []
    page.on("request", lambda request: "/download/" in request.url and asked.append(request.headers.get("range")))
    card = page.locator('[data-id="job1998"]')
    card.hover()
    moving = card.locator("video")
    expect(moving).to_be_visible()
    page.wait_for_function("() => document.querySelector('.moving').currentTime > 0")
    page.locator("h2").hover()
    expect(moving).to_have_count(0)

    assert asked == ["bytes=0-4194303"]
    assert httpx.get(f"{crowded}/status/job1998", trust_env=False).json()["video_ready"] is True


def test_a_video_of_another_shape_is_shown_whole(crowded: str, open_page: Callable[..., Page]) -> None:
    page = open_page("about:blank/ui")
    with io.BytesIO() as file:
        Image.new("RGB", (184, 320), "red").save(file, "JPEG")
        picture = file.getvalue()
    tall = {"job_id": "tall", "status": "completed", "progress": 100, "video_ready": True, "created_at": 1e9,
            "completed_at": 1e9, "prompt": "a tall one", "warnings": [], "timings": {},
            "video": {"width": 480, "height": 832}}  # fmt: skip
    listing = {"jobs": [tall], "total": 1, "next_cursor": None}
    page.route("**/jobs?*", lambda route: route.fulfill(json=listing))
    page.route("**/thumbnail/tall*", lambda route: route.fulfill(body=picture, content_type="image/jpeg"))
    page.goto(f"{crowded}/ui/#gallery")
    image = page.locator("#jobs img")
    expect(image).to_be_visible()
    inner, outer = image.bounding_box(), page.locator(".card-picture").bounding_box()
    assert inner
    assert outer

    assert inner["height"] <= outer["height"] + 1
    expect(image).to_have_css("object-fit", "contain")


def test_two_are_compared_in_step(crowded: str, open_page: Callable[..., Page]) -> None:
    page = open_gallery(open_page, crowded)
    for number in (1997, 1996):
        page.locator(f'[data-id="job{number}"] input').check(force=True)
    page.get_by_role("button", name="Compare", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator("video")).to_have_count(2)
    slider = dialog.get_by_label("Time")
    expect(slider).to_be_enabled()
    assert violations(page) == []
    slider.fill("0.4")
    times = "() => [...document.querySelectorAll('dialog video')].map(video => video.currentTime)"
    assert page.evaluate(times) == [0.4, 0.4]
    dialog.get_by_role("button", name="Play both").click()
    page.wait_for_function(f"() => ({times})().every(time => time !== 0.4)")
    dialog.get_by_role("button", name="Pause both").click()
    first, second = page.evaluate(times)

    assert abs(first - second) < 0.3
    expect(dialog.locator(".differs dt")).to_have_text(["Seed", "Seed"])


def test_a_visitor_without_a_mouse_compares_and_deletes(crowded: str, open_page: Callable[..., Page]) -> None:
    page = open_gallery(open_page, crowded)
    page.locator('[data-id="job1995"] .card-open').focus()
    page.keyboard.press("c")
    page.keyboard.press("ArrowRight")
    expect(page.locator('[data-id="job1994"] .card-open')).to_be_focused()
    page.keyboard.press("c")
    expect(page.locator("#compare")).to_be_enabled()
    page.locator("#compare").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog").get_by_role("button", name="Play both")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.locator("#compare")).to_be_focused()

    page.locator('[data-id="job1994"] .card-open').focus()
    page.keyboard.press("Delete")
    expect(page.locator('[data-id="job1994"]')).to_have_count(0)
    expect(page.locator('[data-id="job1993"] .card-open')).to_be_focused()
    page.keyboard.press("Control+z")
    expect(page.locator('[data-id="job1994"]')).to_be_visible()

    assert httpx.get(f"{crowded}/status/job1994", trust_env=False).status_code == 200


def test_a_thumbnail_is_small_and_outlives_the_download(crowded: str) -> None:
    with httpx.Client(base_url=crowded, trust_env=False) as client:
        first = client.get("/thumbnail/job1992")
        client.get("/download/job1992")
        assert client.get("/status/job1992").json()["video_ready"] is False
        again = client.get("/thumbnail/job1992")
        failed = client.get("/thumbnail/job0")

    assert (first.headers["content-type"], first.content[:2]) == ("image/jpeg", b"\xff\xd8")
    assert len(first.content) < 12_000
    assert again.content == first.content
    assert (failed.status_code, failed.json()["code"]) == (409, "NOT_READY")
