"""Define the settings of the worker's own bucket, a part of Settings."""

from __future__ import annotations

from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class BucketParts(NamedTuple):
    """Hold what people configure of a bucket, with its keys in the clear."""

    endpoint_url: str | None
    access_key_id: str | None
    secret_access_key: str | None
    name: str | None


class BucketSettings(BaseModel):
    """Define the bucket for videos that are too large for the answer."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    bucket_endpoint_url: str | None = Field(
        default=None,
        validation_alias="BUCKET_ENDPOINT_URL",
        description="An S3 endpoint for videos that are too large for the answer.",
    )
    bucket_access_key_id: SecretStr | None = Field(
        default=None, validation_alias="BUCKET_ACCESS_KEY_ID", description="The bucket's access key id."
    )
    bucket_secret_access_key: SecretStr | None = Field(
        default=None, validation_alias="BUCKET_SECRET_ACCESS_KEY", description="The bucket's secret key."
    )
    bucket_name: str | None = Field(
        default=None,
        validation_alias="BUCKET_NAME",
        description="The bucket's name. Default: the first part of the endpoint URL's path.",
    )

    @property
    def bucket_parts(self) -> BucketParts:
        """Return what is set of the bucket, for the one who makes it."""
        key_id, secret = self.bucket_access_key_id, self.bucket_secret_access_key
        return BucketParts(
            self.bucket_endpoint_url,
            key_id.get_secret_value() if key_id else None,
            secret.get_secret_value() if secret else None,
            self.bucket_name,
        )
