"""What is blotted out of text, and what stays."""

from __future__ import annotations

import pytest

from wanworker.text import secrets
from wanworker.text.secrets import without_secrets


@pytest.mark.parametrize(
    "text",
    [
        "GET https://bucket.s3.amazonaws.com/a.png?X-Amz-Signature=S3cr3tS3cr3t&X-Amz-Date=1 failed",
        "https://x.blob.core.windows.net/c/a.png?sv=1&sig=S3cr3tS3cr3t%3D",
        "https://host/a?token=S3cr3tS3cr3t",
        "https://host/a?a=1&key=S3cr3tS3cr3t#top",
        "https://host/a?api_key=S3cr3tS3cr3t",
        "https://host/a?AWSAccessKeyId=S3cr3tS3cr3t",
        "https://bucket.oss-cn-beijing.aliyuncs.com/a?x-oss-signature=S3cr3tS3cr3t",
        "https://bucket.cos.myqcloud.com/a?q-sign-time=1&q-signature=S3cr3tS3cr3t",
        "https://bucket.tos.volces.com/a?X-Tos-Credential=S3cr3t&X-Tos-Signature=S3cr3tS3cr3t",
        "https://host/a?jwt=S3cr3tS3cr3t",
        "https://relay/?url=https%3A%2F%2Fhost%2Fa%3FX-Amz-Signature%3DS3cr3tS3cr3t",
        '{"url": "https://host/a?X-Amz-Signature\\u003dS3cr3tS3cr3t"}',
        "{'accessId': 'me', 'accessSecret': 'S3cr3tS3cr3t'}",
        '{"secretAccessKey": "S3cr3tS3cr3t", "region": "auto"}',
        '"hf_token":"S3cr3tS3cr3t"',
        "https://user:S3cr3tS3cr3t@host/a",
        "http://S3cr3tS3cr3t@host:80/",
        "HF_TOKEN=S3cr3tS3cr3t was not taken",
        "aws_secret_access_key=S3cr3tS3cr3t",
        "Authorization: Bearer S3cr3tS3cr3t",
        "authorization: S3cr3tS3cr3t",
        "headers={'Authorization': 'Basic S3cr3tS3cr3t'}",
        '{"x-api-key": "S3cr3tS3cr3t"}',
        "sent bearer S3cr3tS3cr3t.",
        "token hf_S3cr3tS3cr3tS3cr3tS3cr3t is invalid",
        "401 for rpa_S3cr3tS3cr3tS3cr3tS3cr3t",
    ],
)
def test_secrets_are_blotted_out_by_their_form(text):
    assert "S3cr3t" not in without_secrets(text)
    assert secrets.BLOT in without_secrets(text)


@pytest.mark.parametrize(
    "text",
    [
        "must be between 1 and 200; got 0",
        "https://host/a.png answered 404.",
        "Missing key(s) in state_dict: token_embedding.weight",
        "Ask /status until video_ready is true; wait=300000",
        "Send the header `Authorization: Bearer KEY` with the key in WAN_API_KEY.",
        "http://host:8188/prompt?a=1 and mail me@host",
        "unknown field 'token' was ignored",
        "hf_hub is missing; sample_shift=5.0, key == value",
        "{'token_normalization': 'none', 'key': 'value', \"tokens\": \"many\"}",
        "design=3, insignature=4",
    ],
)
def test_ordinary_words_stay(text):
    assert text == without_secrets(text)


def test_the_names_of_parameters_stay():
    assert "https://host/a?sig=***&b=1" == without_secrets("https://host/a?sig=abc&b=1")


def test_remembered_values_are_blotted_out_wherever_they_stand(monkeypatch):
    monkeypatch.setattr(secrets, "_known", set())
    secrets.remember(["correct horse", "short"])

    assert "'***' and short" == without_secrets("'correct horse' and short")
