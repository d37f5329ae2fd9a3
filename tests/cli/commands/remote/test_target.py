"""Whose key goes where: the key of a RunPod account is for RunPod, and for a stand-in on this machine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from wanworker.cli.commands.remote._target import _key_name, brief_client_of
from wanworker.settings import Settings


@pytest.mark.parametrize(
    ("endpoint", "api_key", "expected"),
    [
        ("abc123", None, "RUNPOD_API_KEY"),
        ("abc123", "mine", "RUNPOD_API_KEY"),
        ("https://api.runpod.ai/v2/abc123", "mine", "RUNPOD_API_KEY"),
        ("https://abc123.api.runpod.ai/v2", None, "RUNPOD_API_KEY"),
        ("http://127.0.0.1:8000/v2/abc", None, "RUNPOD_API_KEY"),
        ("http://localhost:8000", None, "RUNPOD_API_KEY"),
        ("http://[::1]:8000", None, "RUNPOD_API_KEY"),
        ("http://127.0.0.1:8000", "mine", "WAN_API_KEY"),
        ("https://api.runpod.ai.example.com/v2/abc", None, "WAN_API_KEY"),
        ("https://api.runpod.ai@example.com/v2/abc", None, "WAN_API_KEY"),
        ("https://notapi.runpod.ai/v2/abc", None, "WAN_API_KEY"),
        ("https://example.com/api.runpod.ai/", None, "WAN_API_KEY"),
        ("https://127.0.0.1.example.com", None, "WAN_API_KEY"),
    ],
)
def test_the_key_of_runpod_leaves_for_runpod_alone(
    make_settings: Callable[..., Settings], endpoint: str, api_key: str | None, expected: str
) -> None:
    assert expected == _key_name(endpoint, make_settings(api_key=api_key))


@pytest.mark.parametrize(
    ("endpoint", "url", "patience_s"),
    [
        ("abc123", None, 60.0),
        ("https://api.runpod.ai/v2/abc123", None, 60.0),
        ("http://127.0.0.1:8000/v2/abc", None, 5.0),
        (None, "http://127.0.0.1:8189", 5.0),
    ],
)
async def test_runpod_may_be_busy_for_longer_than_a_server_here_may_be_away(
    make_settings: Callable[..., Settings], endpoint: str | None, url: str | None, patience_s: float
) -> None:
    async with brief_client_of(endpoint, url, make_settings(runpod_api_key="k")) as client:
        assert client._patience_s == patience_s
