import pytest

from wanworker.media.inputs.addresses import is_listed, is_public


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0", "10.1.2.3", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254", "168.63.129.16",
        "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.1.1",
        "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1", "240.0.0.1",
        "255.255.255.255",
        "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
        "64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "100::1", "2001::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:db8::1", "2002:7f00:1::1", "2002:a00:1::", "3fff::1",
        "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1",
        "localhost", "", "127.1", "0x7f.0.0.1", "2130706433",
    ],
)  # fmt: skip
def test_an_address_that_is_not_public_unicast_is_refused(address: str) -> None:
    assert is_public(address) is False


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.1", "168.63.129.17", "172.15.255.255", "172.32.0.1",
        "192.0.1.1", "223.255.255.255", "2606:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8",
    ],
)  # fmt: skip
def test_an_address_beside_the_special_ones_is_public(address: str) -> None:
    assert is_public(address) is True


@pytest.mark.parametrize(
    ("host", "entry"),
    [
        ("minio.internal", "minio.internal"),
        ("MinIO.Internal.", "minio.internal"),
        ("10.0.0.5", "10.0.0.5"),
        ("::1", "[::1]"),
        ("0:0:0:0:0:0:0:1", "::1"),
    ],
)
def test_a_host_is_listed_in_any_spelling(host: str, entry: str) -> None:
    assert is_listed(host, ("other", entry)) is True


@pytest.mark.parametrize("host", ["minio.internal.evil.example", "evil-minio.internal", "internal", "10.0.0.50", ""])
def test_a_host_that_only_resembles_an_entry_is_not_listed(host: str) -> None:
    assert is_listed(host, ("minio.internal", "10.0.0.5")) is False
