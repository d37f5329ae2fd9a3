"""Real Chromium and real servers for the tests of the page."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from fakes.rest_server import serving

Serve = Callable[..., str]
OpenPage = Callable[..., Page]

SCREENS = {"desk": ((1440, 900), "dark"), "phone": ((390, 844), "light")}

#: Two cores may be busy with a render while the page is looked at.
expect.set_options(timeout=20_000)


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Return a function that starts a server with these variables and returns its address; all end at the end."""
    with contextlib.ExitStack() as servers:
        yield lambda **variables: servers.enter_context(serving(tmp_path_factory.mktemp("server"), variables))


@pytest.fixture(scope="module")
def address(serve: Serve) -> str:
    """Return the address of a server without a key, shared by the tests: each looks at its own jobs only."""
    return serve()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """
    Yield the machine's own Chromium.

    Playwright runs an event loop in this thread, where no async test can run before it has ended: hence one a module.
    """
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        # Chromium's own sandbox refuses to run as root, which is what containers do.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def open_any(chromium: Browser) -> Iterator[OpenPage]:
    """
    Return a function that opens a server's page on any screen; at the end, no script may have failed or been refused.
    """
    failures: list[str] = []
    contexts = contextlib.ExitStack()

    def open_(address: str, **options: Any) -> Page:
        context = contexts.enter_context(contextlib.closing(chromium.new_context(**options)))
        page = context.new_page()
        page.on("pageerror", lambda error: failures.append(str(error)))
        page.on("console", lambda message: "Content Security" in message.text and failures.append(message.text))
        page.goto(address if "/ui" in address else f"{address}/ui")
        return page

    with contexts:
        yield open_
        assert failures == []


@pytest.fixture(params=SCREENS)
def open_page(open_any: OpenPage, request: pytest.FixtureRequest) -> OpenPage:
    """Return a function that opens a server's page on a wide and dark screen, and on a narrow and light one."""
    (width, height), scheme = SCREENS[request.param]
    return functools.partial(open_any, viewport={"width": width, "height": height}, color_scheme=scheme)
