import asyncio
import datetime
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from fakes.files import FileServer, file_server
from fakes.network import Names, Sockets
from wanworker.errors import DiskFull, InputRefused, InputUnavailable, WorkerError
from wanworker.media.inputs._fetch import FetchLimits, Network, fetch

LIMITS = FetchLimits(max_bytes=100_000, timeout_s=10.0, connect_timeout_s=5.0)
LOOPBACK = ("127.0.0.1",)
PUBLIC = "93.184.215.14"


@pytest.fixture
async def server() -> AsyncIterator[FileServer]:
    async with file_server() as running:
        yield running


async def refusal(
    url: str, tmp_path: Path, *, limits: FetchLimits = LIMITS, allow: Sequence[str] = (), network: Network | None = None
) -> WorkerError:
    """Fetch what must fail; return the error after checking what holds of every failure."""
    target = tmp_path / "fetched"
    with pytest.raises(WorkerError) as caught:
        await fetch(url, target, limits=limits, allow_hosts=allow, network=network or Network())
    assert not target.exists()
    assert "secret" not in str(caught.value)
    assert "secret" not in str(caught.value.hint)
    return caught.value


async def test_a_file_arrives_whole(server: FileServer, tmp_path: Path) -> None:
    content = bytes(range(256)) * 300
    server.files["cat.png"] = content
    target = tmp_path / "fetched"

    await fetch(server.url("/files/cat.png"), target, limits=LIMITS, allow_hosts=LOOPBACK)

    assert content == target.read_bytes()


async def test_a_file_of_exactly_the_limit_is_taken_and_one_byte_more_is_not(
    server: FileServer, tmp_path: Path
) -> None:
    server.files.update(fits=b"x" * 100_000, larger=b"x" * 100_001)

    await fetch(server.url("/files/fits"), tmp_path / "fits", limits=LIMITS, allow_hosts=LOOPBACK)
    error = await refusal(server.url("/files/larger"), tmp_path, allow=LOOPBACK)

    assert (tmp_path / "fits").stat().st_size == 100_000
    assert isinstance(error, InputRefused)
    assert "larger than 100,000 bytes" in str(error)


async def test_the_query_reaches_the_server_as_it_was_written(server: FileServer, tmp_path: Path) -> None:
    server.files["a"] = b"x"
    query = "X-Amz-Credential=AKIA%2F2024%2Fs3&sig=a%2Bb%3d%3D&t=1+1"

    await fetch(server.url(f"/files/a?{query}"), tmp_path / "a", limits=LIMITS, allow_hosts=LOOPBACK)

    assert [query] == [request.raw_path.partition("?")[2] for request in server.requests]


async def test_spaces_around_and_in_a_url_are_forgiven(server: FileServer, tmp_path: Path) -> None:
    server.files["my cat.png"] = b"meow"

    await fetch(f"\n {server.url('/files/my cat.png')} ", tmp_path / "a", limits=LIMITS, allow_hosts=LOOPBACK)

    assert (tmp_path / "a").read_bytes() == b"meow"


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "http://127.0.0.1:8188/?secret",
        "http://169.254.169.254/latest/meta-data/?secret",
        "http://[::1]/?secret",
        "http://inside.example/?secret",
        "http://user:secret@example.com/",
    ],
)
async def test_a_refused_url_opens_no_socket(url: str, tmp_path: Path) -> None:
    sockets = Sockets()
    network = Network(Names({"inside.example": [["10.0.0.1"]]}), sockets)

    error = await refusal(url, tmp_path, network=network)

    assert isinstance(error, InputRefused)
    assert sockets.opened == []


async def test_a_rebinding_name_is_asked_once_and_the_address_that_was_checked_is_connected_to(
    server: FileServer, tmp_path: Path
) -> None:
    names = Names({"rebinding.example": [[PUBLIC], ["127.0.0.1"]]})
    sockets = Sockets()

    error = await refusal(server.url("/files/a", host="rebinding.example"), tmp_path, network=Network(names, sockets))

    assert isinstance(error, InputUnavailable)  # The test has no internet; what counts is where it went.
    assert names.asked == ["rebinding.example"]
    assert sockets.opened == [PUBLIC]
    assert server.requests == []


async def test_the_connection_goes_to_the_first_answer_and_the_host_header_stays_that_of_the_url(
    server: FileServer, tmp_path: Path
) -> None:
    server.files["a"] = b"from the first"
    names = Names({"files.example": [["127.0.0.1"], ["127.0.0.2"]]})
    async with file_server(host="127.0.0.2", port=server.port) as second:
        second.files["a"] = b"from the second"
        await fetch(
            server.url("/files/a", host="files.example"), tmp_path / "a", limits=LIMITS, allow_hosts=("files.example",),
            network=Network(names),
        )  # fmt: skip

        assert second.requests == []
    assert names.asked == ["files.example"]
    assert (tmp_path / "a").read_bytes() == b"from the first"
    assert [f"files.example:{server.port}"] == [request.headers["Host"] for request in server.requests]


async def test_all_checked_addresses_are_tried(server: FileServer, tmp_path: Path) -> None:
    server.files["a"] = b"x"
    sockets = Sockets()
    network = Network(Names({"files.example": [[PUBLIC, "127.0.0.1"]]}), sockets)

    await fetch(
        server.url("/files/a", host="files.example"), tmp_path / "a", limits=LIMITS, allow_hosts=("files.example",),
        network=network,
    )  # fmt: skip

    assert sockets.opened == [PUBLIC, "127.0.0.1"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_followed(status: int, server: FileServer, tmp_path: Path) -> None:
    server.files["a"] = b"there"

    await fetch(
        server.url(f"/redirect?status={status}&to=/files/a"), tmp_path / "a", limits=LIMITS, allow_hosts=LOOPBACK
    )

    assert (tmp_path / "a").read_bytes() == b"there"


@pytest.mark.parametrize(
    ("to", "said"),
    [
        ("http://127.0.0.2:{port}/files/a", "private or reserved"),
        ("http://169.254.169.254/latest/meta-data/", "private or reserved"),
        ("http://[::1]:{port}/files/a", "private or reserved"),
        ("//127.0.0.2:{port}/files/a", "private or reserved"),
        ("http://2130706434:{port}/", "private or reserved"),
        ("http://inside.example:{port}/files/a", "private or reserved"),
        ("http://127.0.0.1@127.0.0.2:{port}/files/a", "user name"),
        ("file:///etc/passwd", "scheme 'file'"),
    ],
)
async def test_a_redirect_from_an_allowed_host_is_checked_like_a_first_url(
    to: str, said: str, server: FileServer, tmp_path: Path
) -> None:
    network = Network(Names({"inside.example": [["127.0.0.2"]], "2130706434": [["127.0.0.2"]]}))
    async with file_server(host="127.0.0.2", port=server.port) as inside:
        inside.files["a"] = b"not for callers"

        error = await refusal(
            server.url(f"/redirect?to={to.format(port=server.port)}"), tmp_path, allow=LOOPBACK, network=network
        )

        assert inside.requests == []
    assert isinstance(error, InputRefused)
    assert said in str(error)


async def test_redirects_end_after_the_fifth(server: FileServer, tmp_path: Path) -> None:
    error = await refusal(server.url("/redirect?to=?to=&secret"), tmp_path, allow=LOOPBACK)

    assert isinstance(error, InputUnavailable)
    assert "redirected more than 5 times" in str(error)
    assert len(server.requests) == 6


async def test_a_redirect_without_a_target_is_an_error(server: FileServer, tmp_path: Path) -> None:
    assert "answered 302" in str(await refusal(server.url("/status/302"), tmp_path, allow=LOOPBACK))


@pytest.mark.parametrize(
    ("path", "kind", "said"),
    [
        ("/missing?sig=secret#secret", InputUnavailable, "/missing answered 404."),
        ("/status/403?secret", InputUnavailable, "answered 403."),
        ("/status/500", InputUnavailable, "answered 500."),
        ("/status/304", InputUnavailable, "answered 304."),
        ("/short?secret", InputUnavailable, "the transfer broke off"),
        ("/gzip?secret", InputUnavailable, "Content-Encoding 'gzip'"),
        ("/endless?secret", InputRefused, "larger than 100,000 bytes"),
        ("/long?secret", InputRefused, "larger than 100,000 bytes"),
    ],
)
async def test_a_bad_answer_is_named_and_leaves_nothing(
    path: str, kind: type[WorkerError], said: str, server: FileServer, tmp_path: Path
) -> None:
    error = await refusal(server.url(path), tmp_path, allow=LOOPBACK)

    assert kind is type(error)
    assert said in str(error)


async def test_an_expired_link_gets_a_hint_of_its_own(server: FileServer, tmp_path: Path) -> None:
    error = await refusal(server.url("/status/403"), tmp_path, allow=LOOPBACK)

    assert "may have expired" in str(error.hint)


async def test_the_deadline_covers_a_body_that_drips(server: FileServer, tmp_path: Path) -> None:
    limits = FetchLimits(max_bytes=100_000, timeout_s=0.2)

    error = await refusal(server.url("/slow?secret"), tmp_path, limits=limits, allow=LOOPBACK)

    assert isinstance(error, InputUnavailable)
    assert f"{server.url('/slow')} did not arrive within 0.2 s." == str(error)


async def test_the_deadline_covers_a_name_server_that_says_nothing(tmp_path: Path) -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return ()

    limits = FetchLimits(max_bytes=100_000, timeout_s=0.05)

    error = await refusal("http://silent.example/", tmp_path, limits=limits, network=Network(resolve))

    assert "did not arrive within 0.05 s" in str(error)


async def test_a_server_that_never_accepts_is_given_up_on(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as silent:
        port = silent.getsockname()[1]
        waiting = []
        for _ in range(4):  # Fill the queue of connections, so that the next one hangs.
            waiting.append(client := socket.socket())
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
        limits = FetchLimits(max_bytes=100_000, timeout_s=10.0, connect_timeout_s=0.05)

        error = await refusal(f"http://127.0.0.1:{port}/", tmp_path, limits=limits, allow=LOOPBACK)
        for client in waiting:
            client.close()

    assert isinstance(error, InputUnavailable)
    assert "no connection in time" in str(error)


async def test_a_closed_port_and_a_server_that_speaks_no_http_are_unavailable(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    closed = await refusal(f"http://127.0.0.1:{port}/", tmp_path, allow=LOOPBACK)

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-babble secret\r\n\r\n")
        try:
            await reader.read(1)
        finally:  # the test may end first
            writer.close()

    async with await asyncio.start_server(babble, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        babbled = await refusal(f"http://127.0.0.1:{port}/?secret", tmp_path, allow=LOOPBACK)

    assert f"http://127.0.0.1:{port}/: no usable answer" in str(babbled)
    assert "no connection (" in str(closed)
    assert {InputUnavailable} == {type(closed), type(babbled)}


async def test_cancellation_in_mid_body_leaves_nothing(server: FileServer, tmp_path: Path) -> None:
    target = tmp_path / "fetched"
    task = asyncio.create_task(fetch(server.url("/slow"), target, limits=LIMITS, allow_hosts=LOOPBACK))
    async with asyncio.timeout(10):
        while not target.exists():
            await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert list(tmp_path.iterdir()) == []


async def test_a_full_disk_is_said_to_be_full(server: FileServer, tmp_path: Path) -> None:
    server.files["a"] = b"x" * 50_000
    (tmp_path / "fetched").symlink_to("/dev/full")

    error = await refusal(server.url("/files/a"), tmp_path, allow=LOOPBACK)

    assert isinstance(error, DiskFull)


async def test_proxies_and_credentials_of_the_environment_are_not_used(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["a"] = b"x"
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login worker password secret")
    for name, value in {"http_proxy": "http://127.0.0.1:9", "NETRC": str(netrc)}.items():
        monkeypatch.setenv(name, value)

    await fetch(server.url("/files/a"), tmp_path / "a", limits=LIMITS, allow_hosts=LOOPBACK)

    assert {"identity"} == {request.headers["Accept-Encoding"] for request in server.requests}
    assert not {"Authorization", "Cookie"} & set(server.requests[0].headers)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a self-signed certificate for files.example, with its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "files.example")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("files.example")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    path.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain) + signed.public_bytes(pem))
    return path


async def test_tls_is_checked_against_the_name_in_the_url_and_not_the_address(
    certificate: Path, tmp_path: Path
) -> None:
    ours = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ours.load_cert_chain(certificate)
    asked_for: list[str | None] = []
    ours.sni_callback = lambda _socket, name, _context: asked_for.append(name)
    trusting = ssl.create_default_context(cafile=certificate)
    names = Names({"files.example": [["127.0.0.1"]], "other.example": [["127.0.0.1"]]})
    allow = ("files.example", "other.example")
    async with file_server(tls=ours) as server:
        server.files["a"] = b"x"
        url = server.url("/files/a", host="files.example", scheme="https")
        await fetch(url, tmp_path / "a", limits=LIMITS, allow_hosts=allow, network=Network(names, tls=trusting))
        other = await refusal(
            url.replace("files.example", "other.example"), tmp_path, allow=allow, network=Network(names, tls=trusting)
        )
        distrusted = await refusal(url, tmp_path, allow=allow, network=Network(names))

    assert (tmp_path / "a").read_bytes() == b"x"
    assert asked_for == ["files.example", "other.example", "files.example"]
    assert "TLS certificate is not valid" in str(other)
    assert "TLS certificate is not valid" in str(distrusted)
