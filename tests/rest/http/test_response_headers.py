"""The heads of answers: redirects behind a proxy's prefix, and what the page may be shown in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from urllib.parse import urljoin

import pytest
from httpx import ASGITransport, AsyncClient

from wanworker.app import Worker
from wanworker.rest._app import create_app
from wanworker.rest.http.response_headers import relative
from wanworker.settings import Settings


@pytest.fixture
async def client(make_settings: Callable[..., Settings]) -> AsyncIterator[AsyncClient]:
    """Yield a client of a server without a key."""
    settings = make_settings()
    transport = ASGITransport(app=create_app(Worker.from_settings(settings), settings))
    async with AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        yield client


@pytest.mark.parametrize(
    ("asked", "target"),
    [("/ui", "/ui/"), ("/ui?theme=dark", "/ui/?theme=dark"), ("/jobs/", "/jobs"), ("/jobs/?limit=2", "/jobs?limit=2")],
)
async def test_a_redirect_leads_to_the_same_place_behind_a_proxys_prefix(
    client: AsyncClient, asked: str, target: str
) -> None:
    location = (await client.get(asked)).headers["location"]

    proxy = "https://pod-8189.proxy.example/some/prefix"
    assert f"{proxy}{target}" == urljoin(f"{proxy}{asked}", location)


@pytest.mark.parametrize("location", ["https://bucket.example/a.mp4", "/elsewhere", "http://127.0.0.1/ui/more/"])
def test_an_address_elsewhere_stays_as_it_is(location: str) -> None:
    assert location == relative(location, "/ui")


@pytest.mark.parametrize("path", ["/ui", "/ui/", "/ui/app.js", "/ui/nothing"])
async def test_the_page_may_not_be_framed_nor_its_files_guessed_at(client: AsyncClient, path: str) -> None:
    headers = (await client.get(path)).headers

    assert ("frame-ancestors 'none'", "nosniff") == (
        headers["content-security-policy"],
        headers["x-content-type-options"],
    )


async def test_other_answers_say_nothing_of_frames(client: AsyncClient) -> None:
    assert "content-security-policy" not in (await client.get("/ping")).headers


@pytest.mark.parametrize("path", ["/", "/jobs", "/status/none", "/nowhere", "/ui/", "/metrics"])
async def test_every_answer_is_what_it_says_it_is(client: AsyncClient, path: str) -> None:
    assert "nosniff" == (await client.get(path)).headers["x-content-type-options"]
