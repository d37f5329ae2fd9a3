"""A result is posted again within bounds of number and time; progress never is."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import ClientConnectionError, ClientResponseError, RequestInfo
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from wanworker.serverless._result_posts import marked_as_result, patient

REQUEST = RequestInfo(URL("http://127.0.0.1/"), "POST", CIMultiDictProxy(CIMultiDict()), URL("http://127.0.0.1/"))


def refused(status: int, retry_after: str = "") -> ClientResponseError:
    return ClientResponseError(REQUEST, (), status=status, headers=CIMultiDict({"Retry-After": retry_after}))


class Post:
    """The SDK's post, which raises *error* each time; `waits` is what was waited, on a clock that goes by it."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.posts = 0
        self.waits: list[float] = []
        self._again = patient(self._transmit, clock=lambda: sum(self.waits), sleep=self._sleep, longest_gap_s=200)

    async def _transmit(self, *_: Any) -> None:
        self.posts += 1
        raise self.error

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)

    async def of_a_result(self) -> None:
        await marked_as_result(self._again)("session", "address", b"{}")

    async def of_progress(self) -> None:
        await self._again("session", "address", b"{}")


async def test_a_result_is_given_up_after_eight_posts() -> None:
    post = Post(ClientConnectionError("cut"))

    with pytest.raises(ClientConnectionError):
        await post.of_a_result()

    assert (8, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0]) == (post.posts, post.waits)


async def test_a_result_is_given_up_when_the_time_is_over() -> None:
    post = Post(refused(429, "50"))

    with pytest.raises(ClientResponseError):
        await post.of_a_result()

    assert (4, [50.0, 50.0, 20.0]) == (post.posts, post.waits)


async def test_a_longer_wait_than_there_is_time_for_costs_no_result_its_last_post() -> None:
    post = Post(refused(429, "600"))

    with pytest.raises(ClientResponseError):
        await post.of_a_result()

    assert (2, [120.0]) == (post.posts, post.waits)


@pytest.mark.parametrize("retry_after", ["", "Wed, 21 Oct 2026 07:28:00 GMT", "-5", "1e9"])
async def test_a_wait_that_is_no_number_of_seconds_is_ours(retry_after: str) -> None:
    post = Post(refused(429, retry_after))

    with pytest.raises(ClientResponseError):
        await post.of_a_result()

    assert 8 == post.posts


async def test_a_worker_that_was_frozen_during_its_post_posts_again() -> None:
    posts: list[str] = []

    async def transmit(*_: Any) -> None:
        posts.append("a result")
        if len(posts) == 1:
            raise TimeoutError

    async def at_once(_seconds: float) -> None:
        pass

    again = patient(transmit, clock=lambda: 3600.0 * len(posts), sleep=at_once)
    await marked_as_result(again)("session", "address", b"{}")

    assert 2 == len(posts)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413])
async def test_a_refusal_for_good_is_not_argued_with(status: int) -> None:
    post = Post(refused(status))

    with pytest.raises(ClientResponseError):
        await post.of_a_result()

    assert 1 == post.posts


async def test_progress_is_posted_once() -> None:
    post = Post(refused(429))

    with pytest.raises(ClientResponseError):
        await post.of_progress()

    assert 1 == post.posts
