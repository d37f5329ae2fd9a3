from ipaddress import ip_address

import pytest

from fakes.network import Names
from wanworker.errors import InputRefused, InputUnavailable
from wanworker.media.inputs.urls import checked_addresses, is_host, parse_url, resolve_by_system, shown

PUBLIC = "93.184.215.14"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("file:///etc/passwd", "scheme 'file'"),
        ("ftp://example.com/a", "scheme 'ftp'"),
        ("s3://bucket/secret", "scheme 's3'"),
        ("gopher://127.0.0.1:70/_", "scheme 'gopher'"),
        ("example.com/cat.png", "no scheme"),
        ("//example.com/cat.png", "no scheme"),
        ("", "no scheme"),
        ("http://", "no valid host"),
        ("http:///cat.png", "no valid host"),
        ("http:127.0.0.1/", "no valid host"),
        ("http://exa mple.com/", "no valid host"),
        ("http://exa%6dple.com/", "no valid host"),
        ("http://[fe80::1%25eth0]/", "no valid host"),
        ("http://[::1/", "cannot be parsed"),
        ("http://example.com:99999/", "cannot be parsed"),
        ("http://example.com:80:80/", "cannot be parsed"),
        ("http://example.com\\@127.0.0.1/", "backslashes"),
        ("http://example.com/a\r\nHost: 127.0.0.1", "control characters"),
        ("http://example.com/\x00", "control characters"),
        ("http://example.com/" + "a" * 9000, "too long"),
        ("http://user:secret@example.com/", "holds a user name"),
        ("http://example.com@127.0.0.1/", "holds a user name"),
        ("http://@127.0.0.1/", "holds a user name"),
        ("http://:@127.0.0.1/", "holds a user name"),
    ],
)
def test_what_is_no_plain_http_url_is_refused(url: str, said: str) -> None:
    with pytest.raises(InputRefused, match=said) as caught:
        parse_url(url)

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("/b?sig=%2F%2B", "https://example.com/b?sig=%2F%2B"),
        ("b", "https://example.com/a/b"),
        ("//other.example/b", "https://other.example/b"),
        ("http://other.example/b", "http://other.example/b"),
    ],
)
def test_a_redirects_target_is_read_relative_to_where_it_came_from(location: str, url: str) -> None:
    assert url == str(parse_url(location, base=parse_url("https://example.com/a/?sig=1")))


def test_ascii_stays_as_it_is_written_and_other_text_is_encoded() -> None:
    assert parse_url("http://example.com/a%2fb?X=%2F%2B+y").raw_path_qs == "/a%2fb?X=%2F%2B+y"
    assert str(parse_url("http://ex\u00e4mple.com/\u00fc")) == "http://xn--exmple-cua.com/%C3%BC"


def test_a_message_shows_no_query_and_no_fragment_and_is_not_overlong() -> None:
    assert shown(parse_url("https://example.com:8443/a/b.png?sig=x#y")) == "https://example.com:8443/a/b.png"
    assert len(shown(parse_url("https://example.com/" + "a" * 1000))) == 120


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "2130706433", "0x7f.1", "0x7f000001", "0177.0.0.1", "127.1", "0", "0.0.0.0",
        "169.254.169.254", "2852039166", "10.0.0.1", "100.64.0.1", "192.168.0.1", "224.0.0.1", "255.255.255.255",
        "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:a9fe:a9fe]", "[::127.0.0.1]", "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]", "[2001:0:1::1]", "[fd00:ec2::254]", "[fe80::1]", "[ff02::1]",
        "\u2460\u2461\u2466.\u24ea.\u24ea.\u2460", "127\u30020\u30020\u30021", "\uff4cocalhost",
    ],
)  # fmt: skip
async def test_a_private_host_is_refused_in_every_spelling(host: str) -> None:
    url = parse_url(f"http://{host}:8188/a?sig=secret")

    with pytest.raises(InputRefused, match="leads to a private or reserved address") as caught:
        await checked_addresses(url, (), resolve_by_system)

    assert "secret" not in str(caught.value)
    assert "WAN_ALLOW_HOSTS" in str(caught.value.hint)


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"], ["169.254.169.254"], ["::1"], ["::ffff:10.0.0.1"], ["64:ff9b::a9fe:a9fe"], ["fe80::1%eth0"],
        [PUBLIC, "10.0.0.1"], ["2606:4700::1111", "fd00::1"],
    ],
)  # fmt: skip
@pytest.mark.parametrize("host", ["innocent.example", "innocent.example."])
async def test_a_name_that_resolves_to_any_private_address_is_refused(host: str, addresses: list[str]) -> None:
    with pytest.raises(InputRefused) as caught:
        await checked_addresses(parse_url(f"https://{host}/cat.png"), (), Names({host: [addresses]}))

    assert not any(address in str(caught.value) for address in addresses)


async def test_public_addresses_are_handed_over_all_of_them() -> None:
    names = Names({"public.example": [["2606:4700::1111", PUBLIC]]})

    assert await checked_addresses(parse_url("https://public.example/"), (), names) == ["2606:4700::1111", PUBLIC]
    assert names.asked == ["public.example"]


async def test_a_literal_address_is_not_looked_up() -> None:
    names = Names({})

    assert await checked_addresses(parse_url(f"http://{PUBLIC}/"), (), names) == (PUBLIC,)
    (mapped,) = await checked_addresses(parse_url("http://[::ffff:8.8.8.8]/"), (), names)
    assert ip_address(mapped) == ip_address("::ffff:808:808")  # Python 3.13 writes it as the URL does
    assert names.asked == []


@pytest.mark.parametrize("listed", ["minio.internal", "MINIO.internal.", "10.0.0.5"])
async def test_a_private_host_is_taken_when_the_operator_lists_its_name_or_address(listed: str) -> None:
    names = Names({"MinIO.internal": [["10.0.0.5"]]})

    assert await checked_addresses(parse_url("http://MinIO.internal/"), (listed,), names) == ["10.0.0.5"]


async def test_a_listed_address_does_not_open_the_others_of_its_name() -> None:
    names = Names({"minio.internal": [["10.0.0.5", "10.0.0.6"]]})

    with pytest.raises(InputRefused):
        await checked_addresses(parse_url("http://minio.internal/"), ("10.0.0.5", "other.internal"), names)


async def test_an_unknown_name_is_unavailable() -> None:
    names = Names({"empty.example": [[]]})

    for host, said in (("nowhere.example", "cannot be resolved"), ("empty.example", "has no address")):
        with pytest.raises(InputUnavailable, match=f"http://{host}/: the host name {said}"):
            await checked_addresses(parse_url(f"http://{host}/?secret"), (), names)
    with pytest.raises(InputUnavailable, match="cannot be resolved"):
        await checked_addresses(parse_url("http://xn--/"), (), resolve_by_system)


@pytest.mark.parametrize(
    ("host", "is_one"),
    [
        (f"{'a' * 63}.example", True),
        (f"{'a' * 64}.example", False),
        ("a." * 126 + "a", True),
        ("a." * 126 + "aa", False),
        ("example.", True),
        ("example..", False),
        ("a..b", False),
        (".example", False),
        ("", False),
        ("a b", False),
        ("my_host-1", True),
        ("127.0.0.1", True),
        ("::ffff:127.0.0.1", True),
    ],
)
def test_a_host_is_a_name_that_a_resolver_takes_or_an_address(host: str, is_one: bool) -> None:
    assert is_one == is_host(host)


@pytest.mark.parametrize("host", ["a" * 64, "a..b", ".b"])
def test_a_name_that_no_resolver_takes_is_refused(host: str) -> None:
    with pytest.raises(InputRefused, match="names no valid host"):
        parse_url(f"http://{host}/")
