"""
Put a video where the caller wants it: at a presigned URL, which is a secret.

The URL's query holds the signature, so no message, log or record ever has more of it than its place in the request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from yarl import URL

from wanworker.clocks.awake import Silence
from wanworker.errors import InputRefused, InvalidRequest
from wanworker.media.inputs.urls import parse_url
from wanworker.media.outputs._put import (
    Sleep,
    UploadFailed,
    guarded_session,
    is_taken,
    is_transient,
    may_reach,
    put_file,
    retried,
)
from wanworker.media.outputs.line_speed import PATIENCE_S, seconds_for

FIELD = "output_upload_urls"

#: Amazon answers 307 for a bucket that is new. 301 to 303 would turn a PUT into a GET.
_REDIRECTS = frozenset({307, 308})
_MOST_REDIRECTS = 3


@dataclass(frozen=True, slots=True)
class UploadUrl:
    """Hold a caller's presigned URL for one output, and where it stands in the request."""

    url: URL = field(repr=False)
    place: str
    allow_hosts: tuple[str, ...] = ()

    @classmethod
    def for_outputs(
        cls, urls: Sequence[str], num_outputs: int, *, allow_hosts: Sequence[str] = ()
    ) -> tuple[UploadUrl, ...]:
        """
        Check *urls*, none or one for each output. *allow_hosts* are private hosts that the operator allows.

        Raises InvalidRequest for another number of them, InputRefused for one that is no http(s) URL or names a private
        address; never with a part of it.
        """
        if urls and len(urls) != num_outputs:
            message = f"{FIELD} needs one URL for each output: {num_outputs} expected, {len(urls)} given."
            raise InvalidRequest(message, hint="Send as many URLs as num_outputs says.", field=FIELD)
        return tuple(cls._checked(url, f"{FIELD}[{number}]", tuple(allow_hosts)) for number, url in enumerate(urls))

    @classmethod
    def _checked(cls, text: str, place: str, allow_hosts: tuple[str, ...]) -> UploadUrl:
        try:
            url = parse_url(text.strip())
        except InputRefused:
            message = f"{place} is not an http(s) URL that can be used."
            raise InputRefused(
                message, hint="Send a presigned PUT URL, as your storage made it.", field=FIELD
            ) from None
        if not may_reach(url.raw_host or "", allow_hosts):
            message = f"{place} leads to a private address."
            raise InputRefused(message, hint="The operator can list private hosts in WAN_ALLOW_HOSTS.", field=FIELD)
        return cls(url, place, allow_hosts)

    async def put(self, path: Path, *, mime: str, patience_s: float = PATIENCE_S, sleep: Sleep = asyncio.sleep) -> None:
        """
        Stream *path*, a file of type *mime*, to the URL.

        Server errors, 429 and broken connections are tried again three times; all of it may take *patience_s* and the
        time that a slow line needs. Raises UploadFailed, and OSError if *path* cannot be read.
        """
        size_bytes = path.stat().st_size
        try:
            async with Silence(seconds_for(size_bytes, patience_s)):
                reason = await retried(lambda: self._put(path, size_bytes, mime), told=_words, sleep=sleep)
        except TimeoutError:
            reason = "it did not take the file in time"
        if reason:
            raise UploadFailed(f"{self.place} did not take the file: {reason}.")

    async def _put(self, path: Path, size_bytes: int, mime: str) -> tuple[str, bool]:
        """Send the file once, over redirects. Return the reason of a failure, and whether another attempt may pass."""
        url = self.url
        headers = {"Content-Type": mime, "Content-Length": str(size_bytes)}
        for _ in range(_MOST_REDIRECTS + 1):
            # Each hop has a session of its own, so that it passes the same checks as the first.
            host = url.raw_host or ""
            async with guarded_session(host, size_bytes, allow_hosts=self.allow_hosts, named=self.place) as session:
                status, location, _ = await put_file(session, url, path, headers)
            if is_taken(status):
                return "", False
            if status not in _REDIRECTS or location is None:
                return f"HTTP {status}", is_transient(status)
            try:
                url = parse_url(location, base=url)
            except InputRefused:
                return "it redirected to something that is not an http(s) URL", False
        return f"it redirected more than {_MOST_REDIRECTS} times", False


def _words(error: Exception) -> str:
    """Say what went wrong by the error's type: its text may repeat the whole URL."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
        return "its TLS certificate is not valid for this host"
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "no connection"
    return "the connection broke off"
