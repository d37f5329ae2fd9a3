"""
Upload a file to an S3 bucket and make a link to it. botocore signs, and aiohttp streams.

boto3 would add threads, a transfer manager and about 30 MB, but only the signature is needed.
"""

from __future__ import annotations

import asyncio
import functools
import re
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import aiohttp
from aiohttp.abc import ResolveResult
from yarl import URL

from wanworker.media.inputs.addresses import is_listed, is_numeric, is_public
from wanworker.media.inputs.peer import checked_peer
from wanworker.media.outputs.bucket import Bucket
from wanworker.text.printable import one_line
from wanworker.text.secrets import BLOT, without_secrets

#: The longest lifetime of a presigned link, in seconds (S3's own limit).
LINK_LIFETIME_S = 7 * 24 * 3600
#: Pauses between the attempts, in seconds.
_PAUSES_S = (1.0, 3.0, 9.0)
_SLOWEST_BYTES_PER_S = 500_000

Sleep = Callable[[float], Awaitable[None]]


class UploadFailed(Exception):
    """The bucket did not take the file. The text says why, without any key. The video is still where it was."""


class _PublicOnly(aiohttp.ThreadedResolver):
    """Refuse names that lead to a private address. This is checked where the connection gets its addresses."""

    def __init__(self, allow_hosts: tuple[str, ...]) -> None:
        super().__init__()
        self._allow_hosts = allow_hosts

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await super().resolve(host, port, family)
        for address in found:
            if not is_listed(host, self._allow_hosts):
                _check_address(address["host"], self._allow_hosts)
        return found


async def upload(bucket: Bucket, path: Path, key: str, *, mime: str, sleep: Sleep = asyncio.sleep) -> str:
    """
    Stream *path* to *key*, and return a link that anybody can open for seven days.

    The object gets *mime* as its type, and a browser shows the key's last part as its name. After server errors and
    broken connections, it is tried again three times. Raises UploadFailed, and OSError if *path* cannot be read.
    """
    reason = ""
    async with _session(bucket, path.stat().st_size) as session:
        for pause_s in (0.0, *_PAUSES_S):
            if pause_s:
                await sleep(pause_s)
            try:
                reason, can_pass = await _put(session, bucket, path, key, mime)
            except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
                reason = f"{type(error).__name__}: {error}".rstrip(": ")
                can_pass = not isinstance(error, aiohttp.InvalidURL)
            if not reason:
                return presigned_url(bucket, key)
            if not can_pass:
                break
    raise UploadFailed(_without_keys(f"The bucket {bucket.name!r} did not take the file: {reason}", bucket))


def presigned_url(bucket: Bucket, key: str, *, lifetime_s: int = LINK_LIFETIME_S) -> str:
    """Return a link to *key* that needs no key of its own for *lifetime_s* seconds (at most seven days)."""
    from botocore.auth import S3SigV4QueryAuth

    request = _request("GET", bucket.url_of(key), {})
    S3SigV4QueryAuth(_credentials(bucket), "s3", bucket.region, expires=lifetime_s).add_auth(request)
    return str(request.url)


def _session(bucket: Bucket, size_bytes: int) -> aiohttp.ClientSession:
    """Open a session that gives up on a line that is too slow. For a caller's bucket it reaches only public hosts."""
    resolver = open_socket = None
    if bucket.is_callers:
        host = URL(bucket.endpoint_url).raw_host or ""
        if is_numeric(host):  # an address, or a spelling of one, for which aiohttp does not use the resolver
            _check_address(host, bucket.allow_hosts)
        resolver = _PublicOnly(bucket.allow_hosts)
        open_socket = checked_peer(functools.partial(_may_connect, host, bucket.allow_hosts))
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(resolver=resolver, socket_factory=open_socket),
        timeout=aiohttp.ClientTimeout(total=60 + size_bytes / _SLOWEST_BYTES_PER_S, sock_connect=15),
        cookie_jar=aiohttp.DummyCookieJar(),
    )


def _may_connect(host: str, allow_hosts: tuple[str, ...], address: str) -> bool:
    return is_public(address) or is_listed(address, allow_hosts) or is_listed(host, allow_hosts)


def _check_address(address: str, allow_hosts: tuple[str, ...]) -> None:
    if not _may_connect(address, allow_hosts, address):
        raise UploadFailed("The bucket's endpoint leads to a private address, which only WAN_ALLOW_HOSTS can allow.")


async def _put(session: aiohttp.ClientSession, bucket: Bucket, path: Path, key: str, mime: str) -> tuple[str, bool]:
    """Send the file once. Return (the reason of a failure or nothing, whether another attempt may succeed)."""
    url = bucket.url_of(key)
    headers = {
        "Content-Type": mime,
        "Content-Length": str(path.stat().st_size),
        "Content-Disposition": f'inline; filename="{quote(Path(key).name)}"',
    }
    with path.open("rb") as file:
        signed = _signed_headers(bucket, url, headers)
        # A redirect would send the file to a host for which the signature is not valid.
        async with session.put(URL(url, encoded=True), data=file, headers=signed, allow_redirects=False) as response:
            if response.status in {200, 201, 204}:
                return "", False
            said = await response.content.read(4000)
            return _reason(response.status, said), response.status >= 500 or response.status in {408, 429}


def _signed_headers(bucket: Bucket, url: str, headers: Mapping[str, str]) -> dict[str, str]:
    from botocore.auth import S3SigV4Auth

    request = _request("PUT", url, headers)
    # Signing the payload would mean reading the whole file first. TLS protects it on the way.
    request.context["client_config"] = SimpleNamespace(s3={"payload_signing_enabled": False})
    S3SigV4Auth(_credentials(bucket), "s3", bucket.region).add_auth(request)
    return dict(request.headers.items())


def _request(method: str, url: str, headers: Mapping[str, str]) -> Any:
    from botocore.awsrequest import AWSRequest

    return AWSRequest(method=method, url=url, headers=dict(headers))


def _credentials(bucket: Bucket) -> Any:
    from botocore.credentials import Credentials

    return Credentials(bucket.access_key_id, bucket.secret_access_key)


def _reason(status: int, body: bytes) -> str:
    """Return status, code and message of S3's XML. The rest of it repeats the request's key and signature."""
    text = body.decode("utf-8", "replace")
    found = (re.search(f"<{tag}>([^<]{{1,300}})</{tag}>", text) for tag in ("Code", "Message"))
    return ": ".join([f"HTTP {status}", *(match[1] for match in found if match)])


def _without_keys(text: str, bucket: Bucket) -> str:
    known = text.replace(bucket.secret_access_key, BLOT).replace(bucket.access_key_id, BLOT)
    return one_line(without_secrets(known))
