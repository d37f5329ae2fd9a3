"""
Upload a file to an S3 bucket and make a link to it. botocore signs, and aiohttp streams.

boto3 would add threads, a transfer manager and about 30 MB, but only the signature is needed.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import aiohttp
from yarl import URL

from wanworker.media.outputs._put import (
    Sleep,
    UploadFailed,
    guarded_session,
    is_taken,
    is_transient,
    open_session,
    put_file,
    retried,
)
from wanworker.media.outputs.bucket import Bucket
from wanworker.text.printable import one_line
from wanworker.text.secrets import BLOT, without_secrets

__all__ = ["LINK_LIFETIME_S", "Sleep", "UploadFailed", "upload"]

#: The longest lifetime of a presigned link, in seconds (S3's own limit).
LINK_LIFETIME_S = 7 * 24 * 3600


async def upload(bucket: Bucket, path: Path, key: str, *, mime: str, sleep: Sleep = asyncio.sleep) -> str:
    """
    Stream *path* to *key*, and return a link that anybody can open for seven days.

    The object gets *mime* as its type, and a browser shows the key's last part as its name. After server errors and
    broken connections, it is tried again three times. Raises UploadFailed, and OSError if *path* cannot be read.
    """
    async with _session(bucket, path.stat().st_size) as session:
        reason = await retried(
            lambda: _put(session, bucket, path, key, mime),
            told=lambda error: f"{type(error).__name__}: {error}".rstrip(": "),
            sleep=sleep,
        )
    if not reason:
        return _presigned_url(bucket, key)
    raise UploadFailed(_without_keys(f"The bucket {bucket.name!r} did not take the file: {reason}", bucket))


def _presigned_url(bucket: Bucket, key: str, *, lifetime_s: int = LINK_LIFETIME_S) -> str:
    """Return a link to *key* that needs no key of its own for *lifetime_s* seconds (at most seven days)."""
    from botocore.auth import S3SigV4QueryAuth

    request = _request("GET", bucket.url_of(key), {})
    S3SigV4QueryAuth(_credentials(bucket), "s3", bucket.region, expires=lifetime_s).add_auth(request)
    return str(request.url)


def _session(bucket: Bucket, size_bytes: int) -> aiohttp.ClientSession:
    """Open a session. For a caller's bucket it reaches only public hosts."""
    if not bucket.is_callers:
        return open_session(size_bytes)
    host = URL(bucket.endpoint_url).raw_host or ""
    return guarded_session(host, size_bytes, allow_hosts=bucket.allow_hosts, named="The bucket's endpoint")


async def _put(session: aiohttp.ClientSession, bucket: Bucket, path: Path, key: str, mime: str) -> tuple[str, bool]:
    """Send the file once. Return (the reason of a failure or nothing, whether another attempt may succeed)."""
    url = bucket.url_of(key)
    headers = {
        "Content-Type": mime,
        "Content-Length": str(path.stat().st_size),
        "Content-Disposition": f'inline; filename="{quote(Path(key).name)}"',
    }
    signed = _signed_headers(bucket, url, headers)
    # A redirect would send the file to a host for which the signature is not valid.
    status, _, said = await put_file(session, URL(url, encoded=True), path, signed)
    return ("", False) if is_taken(status) else (_reason(status, said), is_transient(status))


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
