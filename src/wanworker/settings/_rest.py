"""Define the settings of the REST door, a part of Settings."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class RestSettings(BaseModel):
    """Define where the REST server listens, who may call it, and how long it keeps what it made."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    api_key: SecretStr | None = Field(
        default=None,
        validation_alias="WAN_API_KEY",
        description="The bearer token that every REST call needs, except the page itself and the health checks.",
    )
    rest_host: str = Field(
        default="127.0.0.1",
        validation_alias="REST_HOST",
        description="Where the REST server listens. Any host but loopback needs WAN_API_KEY.",
    )
    rest_port: int = Field(
        default=8189, ge=1, le=65_535, validation_alias="REST_PORT", description="The REST server's port."
    )
    port: int | None = Field(
        default=None,
        ge=1,
        le=65_535,
        validation_alias="PORT",
        description="Set by RunPod's load balancer, which authenticates: the REST server listens there, on every "
        "interface unless REST_HOST is set.",
    )
    rest_allow_open: bool = Field(
        default=False,
        validation_alias="REST_ALLOW_OPEN",
        description="Whether the REST server may listen beyond loopback without WAN_API_KEY.",
    )
    download_once: bool = Field(
        default=True,
        validation_alias="DOWNLOAD_ONCE",
        description="Whether a REST video is deleted after one complete download. `false` keeps it until its TTL.",
    )
    max_queue: int = Field(
        default=100,
        ge=1,
        le=10_000,
        validation_alias="MAX_QUEUE",
        description="How many REST jobs may wait. The next one is answered with 429.",
    )
    output_ttl_s: float = Field(
        default=86_400,
        ge=0,
        validation_alias="OUTPUT_TTL_S",
        description="How many seconds a REST video is kept; 0 keeps it. Videos of RunPod jobs are always kept.",
    )
    output_quota_bytes: int | None = Field(
        default=None,
        ge=1,
        validation_alias="OUTPUT_QUOTA_BYTES",
        description="The most space for the videos of all REST jobs. Above it, the oldest are deleted.",
    )
    webhook_secret: SecretStr | None = Field(
        default=None,
        validation_alias="WEBHOOK_SECRET",
        description="The key that signs webhooks (Standard Webhooks; `whsec_` and base64, or any text).",
    )
    runpod_api_key: SecretStr | None = Field(
        default=None,
        validation_alias="RUNPOD_API_KEY",
        description="Your RunPod API key, for `wanworker submit` and for the `runpod` engine.",
    )
