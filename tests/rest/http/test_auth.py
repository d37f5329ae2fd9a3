"""Who may call, and with how much."""

import pytest

from wanworker.rest._serve import address, is_loopback
from wanworker.settings import BadSettings

KEY = "correct horse"
GUARDED = ["/status/x", "/jobs", "/metrics", "/events/x", "/download/x", "/v2/x/status/y"]


@pytest.mark.parametrize("path", GUARDED)
async def test_with_a_key_a_route_wants_it(serve, path):
    async with serve(api_key=KEY) as rest:
        async with rest.session.get(f"{rest.url}{path}") as answer:
            refused = (answer.status, answer.headers["WWW-Authenticate"], (await answer.json())["code"])
        wrong = await rest.bytes_of(path, Authorization="Bearer wrong")
        right = await rest.bytes_of(path, Authorization=f"Bearer {KEY}")

        assert (401, "Bearer", "UNAUTHORIZED") == refused
        assert 401 == wrong[0]
        assert 401 != right[0]


async def test_the_shell_and_the_health_checks_are_open(serve):
    async with serve(api_key=KEY) as rest:
        statuses = {path: (await rest.bytes_of(path))[0] for path in ("/", "/ping", "/ready")}

        assert all(status in {200, 503} for status in statuses.values()), statuses
        assert 401 == (await rest.ask("POST", "/generate", json={"prompt": "a cat"}))[0]


async def test_without_a_key_no_route_wants_one(rest):
    assert 200 == (await rest.ask("GET", "/jobs"))[0]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Origin": "http://[zz]"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
async def test_another_sites_page_may_not_drive_the_server(rest, headers):
    status, failure = await rest.ask("POST", "/generate", json={"prompt": "a cat"}, headers=headers)

    assert (403, "FORBIDDEN") == (status, failure["code"])


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost:8189", 200), ("127.0.0.1", 200), ("[::1]:80", 200), ("evil.example:8189", 403), ("", 403)]
    + [(broken, 403) for broken in ("[", "[::1", "[zz]", "]:80")],
)
async def test_without_a_key_it_answers_to_this_machines_names_alone(rest, host, expected):
    assert expected == (await rest.ask("GET", "/jobs", headers={"Host": host}))[0]


async def test_a_name_is_no_matter_where_the_operator_opened_it_or_a_key_guards_it(serve):
    for fields in ({"rest_allow_open": True}, {"api_key": KEY}):
        async with serve(**fields) as rest:
            headers = {"Host": "videos.example", "Authorization": f"Bearer {KEY}"}
            assert 200 == (await rest.ask("GET", "/jobs", headers=headers))[0]


async def test_its_own_page_may(rest):
    headers = {"Origin": rest.url, "Sec-Fetch-Site": "same-origin"}

    assert 200 == (await rest.ask("POST", "/generate", json={"prompt": "a cat"}, headers=headers))[0]


async def test_a_body_that_says_it_is_too_large_is_413(rest):
    headers = {"Content-Type": "application/json", "Content-Length": "50000000"}
    async with rest.session.post(f"{rest.url}/generate", headers=headers, data=_nothing(), chunked=None) as answer:
        assert 413 == answer.status


async def _nothing():
    yield b"{"


async def test_a_body_that_does_not_say_its_size_is_counted(rest):
    async def endless():
        for _ in range(50):
            yield b" " * 1_000_000

    status, failure = await rest.ask("POST", "/generate", data=endless(), headers={"Content-Type": "application/json"})

    assert (413, "TOO_LARGE") == (status, failure["code"])


def test_loopback_needs_no_key(settings):
    assert ("127.0.0.1", 8189) == address(settings)
    assert ("::1", 80) == address(settings, "::1", 80)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.com"])
def test_another_host_without_a_key_is_refused(settings, host):
    with pytest.raises(BadSettings, match="WAN_API_KEY"):
        address(settings, host)


def test_a_key_a_balancer_or_the_operators_word_opens_it(make_settings):
    assert ("0.0.0.0", 8189) == address(make_settings(api_key=KEY, rest_host="0.0.0.0"))
    assert ("0.0.0.0", 8189) == address(make_settings(rest_allow_open=True, rest_host="0.0.0.0"))
    assert ("0.0.0.0", 7000) == address(make_settings(port=7000))
    assert ("127.0.0.1", 7000) == address(make_settings(port=7000, rest_host="127.0.0.1"))


@pytest.mark.parametrize(("host", "expected"), [("localhost", True), ("[::1]", True), ("127.8.8.8", True),
                                                ("10.0.0.1", False), ("localhost.evil.example", False)])  # fmt: skip
def test_what_is_loopback(host, expected):
    assert expected is is_loopback(host)
