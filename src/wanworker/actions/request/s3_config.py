"""Check a job's own bucket, `s3Config` beside `input`, before anything is rendered. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wanworker.actions.request._names import Request, named
from wanworker.errors import InvalidRequest
from wanworker.media.outputs.bucket import Bucket

_FIELD = "s3Config"

_ALIASES: Mapping[str, str] = {
    "accessKeyId": "accessId",
    "access_key_id": "accessId",
    "secretAccessKey": "accessSecret",
    "secret_access_key": "accessSecret",
    "bucket": "bucketName",
    "bucket_name": "bucketName",
    "endpoint": "endpointUrl",
    "endpoint_url": "endpointUrl",
    "region_name": "region",
}


class S3Config(Request):
    """Define the fields of `s3Config`, as RunPod names them. `Bucket` checks their values."""

    accessId: Any = None  # noqa: N815 - RunPod's names
    accessSecret: Any = None  # noqa: N815
    bucketName: Any = None  # noqa: N815
    endpointUrl: Any = None  # noqa: N815
    region: Any = None

    @classmethod
    def aliases(cls) -> Mapping[str, str]:
        """Return other spellings: those of boto3 and of the environment."""
        return _ALIASES


def own_bucket(config: object, *, allow_hosts: Sequence[str]) -> tuple[Bucket | None, list[str]]:
    """
    Return the bucket of a job's `s3Config`, or None, and a warning for each unknown field.

    *allow_hosts* are the private hosts that the operator allows. Raises InvalidRequest with the name of the field,
    never with its value.
    """
    if config is None or config == {}:
        return None, []
    if not isinstance(config, Mapping):
        known = ", ".join(S3Config.model_fields)
        raise InvalidRequest(f"s3Config must be an object with {known}.", field=_FIELD)
    read = named(S3Config, config, within=(_FIELD,))
    return Bucket.from_s3_config(read.fields, allow_hosts=allow_hosts), read.warnings()
