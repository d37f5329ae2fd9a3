"""A visitor renders, watches, plays, downloads, cancels and deletes videos."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from fakes.visitor import PROMPT, RENDER_MS, fill, id_of, plays, send

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]


def status_of(address: str, job_id: str, **headers: str) -> dict[str, Any]:
    answer: dict[str, Any] = httpx.get(f"{address}/status/{job_id}", headers=headers, trust_env=False).json()
    return answer


def test_a_video_is_asked_for_watched_played_downloaded_and_deleted(
    serve: Callable[..., str], open_page: Callable[..., Page], tmp_path: Path
) -> None:
    address = serve()
    page = open_page(address)
    expect(page.locator("#server-text")).to_have_text("mini \u00b7 ready")
    page.locator("#examples-list button").first.click()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value(PROMPT)
    fill(page, steps="15")
    row = send(page)
    job_id = id_of(row)
    seen: list[float] = []
    while (status := row.get_attribute("data-status")) in {"waiting", "rendering"}:
        seen.append(float(page.locator("#run-progress").get_attribute("value") or 0))
        page.wait_for_timeout(30)

    assert status == "ready"
    assert seen == sorted(seen)
    assert len(set(seen)) > 3

    expect(page.locator("#player")).to_be_visible()

    assert plays(page)
    assert page.locator("#player").evaluate("player => [player.videoWidth, player.videoHeight]") == [128, 64]
    assert status_of(address, job_id)["video_ready"] is True, "to play is not to download"

    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    expect(page.locator("#about-note")).to_contain_text("Saved.")
    expect(row).to_have_attribute("data-status", "gone")
    download.value.save_as(tmp_path / "video.mp4")
    after = status_of(address, job_id)

    assert ((tmp_path / "video.mp4").stat().st_size, False) == (after["video"]["size_bytes"], after["video_ready"])
    assert plays(page), "the page still holds what was downloaded"

    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.locator("#jobs > li")).to_have_count(0)
    expect(page.locator("#screen-text")).to_have_text("Your video appears here.")

    assert httpx.get(f"{address}/status/{job_id}", trust_env=False).status_code == 404


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
    fill(page)
    row = send(page)
    expect(page.locator("#player")).to_be_visible(timeout=RENDER_MS)

    assert plays(page)
    assert status_of(address, id_of(row), Authorization="Bearer open sesame")["video_ready"] is True

    with page.expect_download():
        page.get_by_role("button", name="Download").click()
    expect(row).to_have_attribute("data-status", "gone")
    page.reload()
    expect(page.locator("#screen-text")).to_contain_text("no longer has this video")
    expect(dialog).to_be_hidden()


def test_a_running_job_is_cancelled_and_the_waiting_one_gets_its_turn(
    address: str, open_page: Callable[..., Page]
) -> None:
    page = open_page(address)
    fill(page, "a blue ball falls", steps="200")
    running = send(page)
    expect(running).to_have_attribute("data-status", "rendering", timeout=RENDER_MS)
    fill(page, "a pink heart grows")
    waiting = send(page)
    expect(waiting).to_contain_text("number 1 in the queue")

    running.get_by_role("button", name="Cancel: a blue ball falls").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel the job").click()

    expect(running).to_have_count(0)
    expect(waiting).to_have_attribute("data-status", "ready", timeout=RENDER_MS)


def test_a_video_that_was_not_downloaded_is_not_deleted_without_a_question(
    address: str, open_page: Callable[..., Page]
) -> None:
    page = open_page(address)
    fill(page)
    row = send(page)
    expect(row).to_have_attribute("data-status", "ready", timeout=RENDER_MS)
    row.get_by_role("button", name="Delete").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="Keep it")).to_be_focused()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()

    assert status_of(address, id_of(row))["video_ready"] is True

    row.get_by_role("button", name="Delete").click()
    dialog.get_by_role("button", name="Delete").click()

    expect(row).to_have_count(0)


def test_without_the_stream_of_events_progress_comes_by_asking(address: str, open_page: Callable[..., Page]) -> None:
    page = open_page(address)
    page.route(re.compile("/events/"), lambda route: route.abort())
    fill(page, "a grey cube rolls", steps="200")
    row = send(page)

    expect(page.locator("#run-text")).to_contain_text("step", timeout=RENDER_MS)
    expect(row).to_have_attribute("data-status", "ready", timeout=RENDER_MS)


def test_an_earlier_jobs_prompt_seed_and_size_are_used_again(address: str, open_page: Callable[..., Page]) -> None:
    page = open_page(address)
    fill(page, "a tiny yellow square", seed="123456789012345")
    expect(send(page)).to_have_attribute("data-status", "ready", timeout=RENDER_MS)
    page.get_by_role("button", name="Reset").click()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("")
    page.get_by_role("button", name="Use again").click()

    expect(page.get_by_label("Prompt", exact=True)).to_have_value("a tiny yellow square")
    values = {name: page.locator(f"#{name}").input_value() for name in ("seed", "width", "height", "length", "fps")}
    assert values == {"seed": "123456789012345", "width": "128", "height": "64", "length": "17", "fps": "8"}


def test_older_videos_come_when_they_are_asked_for(serve: Callable[..., str], open_page: Callable[..., Page]) -> None:
    address = serve()
    for index in range(13):
        body = {"prompt": f"star {index}", "width": 64, "height": 64, "length": 5, "steps": 1}
        httpx.post(f"{address}/generate", json=body, trust_env=False).raise_for_status()
    page = open_page(address)
    rows = page.locator("#jobs > li")
    expect(rows).to_have_count(12)
    page.get_by_role("button", name="More").click()

    expect(rows).to_have_count(13)
    expect(page.get_by_role("button", name="More")).to_be_hidden()
    expect(page.locator("#history-total")).to_have_text("13")
