"""What comes when the page is opened, and what only when a part of it is visited."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

#: Bytes of the page's own files before compression.
SHELL_BYTES = 150_000

#: The path, the size without compression, and what asked for each of the page's own files that came.
LOADED = """() => performance.getEntriesByType("resource").concat(performance.getEntriesByType("navigation"))
    .filter(({ name }) => name.includes("/ui/"))
    .map(({ name, decodedBodySize, initiatorType }) => [new URL(name).pathname, decodedBodySize, initiatorType])"""


def test_the_first_load_is_small_and_its_tables_come_once(address: str, open_any: Callable[..., Page]) -> None:
    page = open_any(address)
    expect(page.locator("#server-text")).to_contain_text("mini")
    loaded = page.evaluate(LOADED)
    sizes = {path: size for path, size, _ in loaded}

    assert 100_000 < sum(sizes.values()) < SHELL_BYTES, sizes
    assert [kind for path, _, kind in loaded if path.endswith("tables.json")] == ["link"], "beside the scripts"
    assert [path for path in sizes if re.search("/(gallery|workflow|machine)/", path)] == []


def test_a_view_comes_when_it_is_visited(address: str, open_any: Callable[..., Page]) -> None:
    page = open_any(address)
    for name in ("gallery", "workflow", "machine"):
        page.get_by_role("link", name=name.capitalize(), exact=True).click()
        expect(page.locator(f".view-{name} h2").first).to_be_visible()
        assert [path for path, *_ in page.evaluate(LOADED) if f"/{name}/" in path] != []
    sheets = [path.rpartition("/")[2] for path, *_ in page.evaluate(LOADED) if path.endswith(".css")]
    assert sorted(sheets) == ["base.css", "create.css", "gallery.css", "pages.css", "parts.css"]


def test_a_view_that_did_not_come_does_once_the_server_is_back(address: str, open_any: Callable[..., Page]) -> None:
    page = open_any(address)
    expect(page.locator("#server-text")).to_contain_text("mini")
    page.context.set_offline(True)
    expect(page.locator("#server-text")).to_have_text("Offline")
    page.get_by_role("link", name="Machine", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("could not be loaded")
    page.context.set_offline(False)

    expect(page.locator("#verdict")).to_be_visible()


def test_a_view_that_does_not_come_says_so_and_the_others_stay(address: str, open_any: Callable[..., Page]) -> None:
    page = open_any(address)
    page.route("**/gallery/*.js", lambda route: route.abort())
    page.get_by_role("link", name="Gallery", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("could not be loaded")
    page.get_by_role("link", name="Create", exact=True).click()
    expect(page.get_by_label("Prompt", exact=True)).to_be_visible()
    page.get_by_role("link", name="Gallery", exact=True).click()
    page.evaluate("window.isFirst = true")
    page.get_by_role("button", name="Load the page again").click()
    page.wait_for_function("window.isFirst === undefined")
    expect(page.get_by_role("alert")).to_contain_text("could not be loaded")

    page.unroute("**/gallery/*.js")
    page.reload()
    expect(page.locator(".view-gallery h2").first).to_be_visible()
