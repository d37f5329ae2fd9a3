"""Read the settings of an S3 bucket, in every form in which people write the endpoint and the region."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

from wanworker.errors import InvalidRequest
from wanworker.media.inputs.urls import is_host

#: The characters of a key, which goes into a header.
_KEY = re.compile(r"[!-~]{1,512}")

#: The characters of a bucket's name. Amazon requires lower case and 3 characters, but other services have other rules.
_NAME = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._-]{0,254}")

#: The name of a region, which goes into the signature.
_REGION = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")

_HOST = re.compile(r"[a-z0-9_]([a-z0-9._-]{0,251}[a-z0-9])?\.?|[0-9a-f:.]+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class NoBucket:
    """Say why the configured bucket cannot be used. A finished job must not fail because of it."""

    reason: str


@dataclass(frozen=True, slots=True)
class Bucket:
    """
    Name a bucket, and hold the right to write to it.

    `endpoint_url` does not include the bucket (addresses are path-style: `endpoint/name/key`). `prefix` comes before
    each key. `is_callers` means that a caller named it, so its host has to be public or one of `allow_hosts`.
    """

    endpoint_url: str
    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    name: str
    region: str
    prefix: str = ""
    is_callers: bool = False
    allow_hosts: tuple[str, ...] = ()

    @classmethod
    def from_parts(
        cls,
        *,
        endpoint_url: str,
        access_key_id: str,
        secret_access_key: str,
        name: str | None = None,
        region: str | None = None,
        prefix: str = "",
    ) -> Bucket:
        """
        Build a bucket from what people configure. The bucket may be in the URL's host or path, as RunPod writes it.

        Raises InvalidRequest, without any secret in it, for an invalid URL, or if no bucket is named.
        """
        url = _endpoint(endpoint_url.strip())
        for key in (access_key_id, secret_access_key):
            if not _KEY.fullmatch(key.strip()):
                raise InvalidRequest(
                    "The bucket needs an access key id and a secret access key, each one word in ASCII."
                )
        host, in_host = _without_bucket(url.netloc.lower(), name)
        base, in_path, path_prefix = _split_path(url.path, None if in_host else name)
        bucket = name or in_host or in_path
        if not bucket:
            raise InvalidRequest("No bucket is named: give its name, or an endpoint such as 'https://host/bucket'.")
        if not _NAME.fullmatch(bucket):
            raise InvalidRequest("A bucket's name may have only letters, digits, dots, dashes and underscores.")
        if region and not _REGION.fullmatch(region):
            raise InvalidRequest("A bucket's region may have only letters, digits and dashes.")
        return cls(
            endpoint_url=f"{url.scheme}://{host}{base}",
            access_key_id=access_key_id.strip(),
            secret_access_key=secret_access_key.strip(),
            name=bucket,
            region=region if region and region.lower() != region_of(host).lower() else region_of(host),
            prefix="/".join(filter(None, (path_prefix, prefix.strip("/")))),
        )

    @classmethod
    def from_s3_config(cls, config: Mapping[str, Any], *, allow_hosts: Sequence[str] = ()) -> Bucket:
        """
        Build a bucket from a job's own `s3Config`: accessId, accessSecret, bucketName, endpointUrl, region.

        *allow_hosts* are the hosts that may be private because the operator allows them. Raises InvalidRequest with the
        name of the key that is missing or not text, never with a value.
        """
        for key in ("accessId", "accessSecret", "endpointUrl"):
            if not isinstance(config.get(key), str) or not config[key].strip():
                raise InvalidRequest(f"s3Config needs {key} as text.", field="s3Config")
        for key, value in config.items():
            if isinstance(value, str) and not (value.strip().isascii() and value.strip().isprintable()):
                raise InvalidRequest(f"s3Config.{str(key)[:40]} must be printable ASCII text.", field="s3Config")
        name, region = config.get("bucketName"), config.get("region")
        for key, value in (("bucketName", name), ("region", region)):
            if value is not None and not isinstance(value, str):
                raise InvalidRequest(f"s3Config.{key} must be text.", field="s3Config")
        try:
            bucket = cls.from_parts(
                endpoint_url=config["endpointUrl"],
                access_key_id=config["accessId"],
                secret_access_key=config["accessSecret"],
                name=name.strip() or None if name else None,
                region=region.strip() or None if region else None,
            )
        except InvalidRequest as error:
            raise InvalidRequest(f"s3Config: {error}", field="s3Config") from None
        return replace(bucket, is_callers=True, allow_hosts=tuple(allow_hosts))

    def url_of(self, key: str) -> str:
        """Return the object's address, encoded as S3's signature requires it."""
        full = "/".join(filter(None, (self.name, self.prefix, key.lstrip("/"))))
        return f"{self.endpoint_url}/{quote(full, safe='/-_.~')}"


def configured_bucket(
    endpoint_url: str | None, access_key_id: str | None, secret_access_key: str | None, name: str | None
) -> Bucket | NoBucket | None:
    """Return the worker's own bucket, the reason why it cannot be used, or None if the settings name none."""
    if not (endpoint_url and access_key_id and secret_access_key):
        return None
    try:
        return Bucket.from_parts(
            endpoint_url=endpoint_url, access_key_id=access_key_id, secret_access_key=secret_access_key, name=name
        )
    except InvalidRequest as error:
        return NoBucket(f"The worker's own bucket (BUCKET_...) cannot be used: {error}")


def region_of(host: str) -> str:
    """
    Return the region that the signature must name for *host*. Pure.

    Hosts like `s3.us-west-2.amazonaws.com` name it. R2 uses `auto`. RunPod's S3 API requires its data centre in
    capitals. Most others accept `us-east-1`.
    """
    if host.endswith("r2.cloudflarestorage.com"):
        return "auto"
    if match := re.match(r"s3api-([a-z0-9-]+)\.runpod\.io", host):
        return match[1].upper()
    match = re.match(r"s3(?:-fips)?(?:\.dualstack)?[.-]([a-z]{2,}-[a-z0-9-]+)\.", host)
    return match[1] if match else "us-east-1"


def _endpoint(text: str) -> SplitResult:
    """Return the parts of an endpoint's URL. Raises InvalidRequest without the URL, because people put keys into it."""
    try:
        url = urlsplit(text)
        host = url.hostname or ""
        is_good = url.scheme in {"http", "https"} and bool(_HOST.fullmatch(host)) and is_host(host) and url.port != 0
    except ValueError:  # a broken [address], or a port that is no number
        is_good = False
    if not is_good or url.username or url.password or url.query or url.fragment or not text.isprintable():
        raise InvalidRequest("The bucket's endpoint must look like 'https://host' or 'https://host/bucket'.")
    return url


def _without_bucket(host: str, name: str | None) -> tuple[str, str]:
    """Split `bucket.s3.region.amazonaws.com`. Hosts of other services are only split if the name is known."""
    if name and host.startswith(f"{name.lower()}."):
        return host[len(name) + 1 :], name
    if match := re.fullmatch(r"(.+)\.(s3[.-](?:.+\.)?amazonaws\.com(?:\.cn)?)", host):
        return match[2], match[1]
    return host, ""


def _split_path(path: str, name: str | None) -> tuple[str, str, str]:
    """Return (base path, bucket, key prefix). A path without a known bucket in it is the service's own base path."""
    parts = [part for part in path.split("/") if part]
    if name is None:
        return "", parts[0] if parts else "", "/".join(parts[1:])
    if name in parts:
        at = parts.index(name)
        return "".join(f"/{part}" for part in parts[:at]), name, "/".join(parts[at + 1 :])
    return "".join(f"/{part}" for part in parts), "", ""
