"""What the page makes of the wire: pieces of videos and of events, and previews."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import re
from collections.abc import Callable

import pytest
from PIL import Image
from playwright.sync_api import Page, Route, expect

from fakes.visitor import RENDER_MS, fill, recent, send

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]


def test_a_large_video_is_put_together_from_ranges(address: str, open_any: Callable[..., Page]) -> None:
    film = os.urandom(9_000_000)
    asked: list[str] = []

    def hand_out(route: Route) -> None:
        asked.append(route.request.headers["range"])
        first, last = (int(number) for number in re.findall(r"\d+", asked[-1]))
        piece = film[first : last + 1]
        headers = {"Content-Range": f"bytes {first}-{first + len(piece) - 1}/{len(film)}"}
        route.fulfill(status=206, headers=headers, body=piece)

    page = open_any(address)
    page.route("**/download/any", hand_out)
    digest = page.evaluate(
        """async () => {
            const { videoToPlay } = await import("/ui/core/api.js");
            const film = await videoToPlay("any", () => {});
            const digest = await crypto.subtle.digest("SHA-256", await film.arrayBuffer());
            return btoa(String.fromCharCode(...new Uint8Array(digest)));
        }"""
    )

    assert asked == ["bytes=0-4194303", "bytes=4194304-8388607", "bytes=8388608-12582911"]
    assert digest == base64.b64encode(hashlib.sha256(film).digest()).decode()


@pytest.mark.parametrize("ending", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_events_are_read_however_the_network_cuts_them(
    address: str, open_any: Callable[..., Page], ending: str
) -> None:
    lines = [
        ": still here",
        "",
        "event: progress",
        'data: {"progress": 5}',
        "",
        'data: {"progress": 6}',
        "",
        "event: c",
    ]
    read = open_any(address).evaluate(
        """async text => {
            const { EventParser } = await import("/ui/core/api.js");
            const parser = new EventParser();
            return [...text].flatMap(character => [...parser.feed(character)]);
        }""",
        ending.join(lines),
    )

    assert read == [["progress", {"progress": 5}], ["message", {"progress": 6}]]


def test_a_preview_is_shown_while_the_job_is_rendered(address: str, open_page: Callable[..., Page]) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (96, 48), "navy").save(picture, "PNG")

    def with_preview(route: Route) -> None:
        listing = route.fetch().json()
        for job in listing["jobs"]:
            job["preview_url"] = f"/preview/{job['job_id']}"
        route.fulfill(json=listing)

    page = open_page(address)
    page.route(re.compile("/events/"), lambda route: route.abort())
    page.route(re.compile(r"/jobs\?"), with_preview)
    page.route("**/preview/*", lambda route: route.fulfill(body=picture.getvalue(), content_type="image/png"))
    fill(page, steps="200")
    job_id = send(page)
    preview = page.locator("#preview")
    expect(preview).to_be_visible(timeout=RENDER_MS)

    assert preview.evaluate("image => image.decode().then(() => [image.naturalWidth, image.naturalHeight])") == [96, 48]

    expect(recent(page, job_id)).to_have_attribute("data-state", "ready", timeout=RENDER_MS)
    expect(preview).to_have_count(0)
