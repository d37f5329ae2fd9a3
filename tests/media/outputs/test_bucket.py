import pytest

from wanworker.errors import InvalidRequest
from wanworker.media.outputs.bucket import Bucket, region_of

KEYS = {"access_key_id": "AKIDSECRET", "secret_access_key": "hush-hush"}


@pytest.mark.parametrize(
    ("endpoint", "name", "expected"),
    [
        ("https://s3.us-west-2.amazonaws.com", "b", "https://s3.us-west-2.amazonaws.com/b/k.mp4"),
        ("https://s3.us-west-2.amazonaws.com/", "b", "https://s3.us-west-2.amazonaws.com/b/k.mp4"),
        ("https://b.s3.us-west-2.amazonaws.com", None, "https://s3.us-west-2.amazonaws.com/b/k.mp4"),
        ("https://my.b.s3.amazonaws.com", None, "https://s3.amazonaws.com/my.b/k.mp4"),
        ("https://b.s3.us-west-2.amazonaws.com", "b", "https://s3.us-west-2.amazonaws.com/b/k.mp4"),
        ("https://b.nyc3.digitaloceanspaces.com", "b", "https://nyc3.digitaloceanspaces.com/b/k.mp4"),
        ("https://host.example/b", None, "https://host.example/b/k.mp4"),
        ("https://host.example/b", "b", "https://host.example/b/k.mp4"),
        ("https://host.example/b/some/prefix/", None, "https://host.example/b/some/prefix/k.mp4"),
        ("https://p.supabase.co/storage/v1/s3", "b", "https://p.supabase.co/storage/v1/s3/b/k.mp4"),
        ("http://127.0.0.1:9000", "b", "http://127.0.0.1:9000/b/k.mp4"),
    ],
)
def test_the_bucket_is_found_wherever_people_write_it(endpoint: str, name: str | None, expected: str) -> None:
    assert expected == Bucket.from_parts(endpoint_url=endpoint, name=name, **KEYS).url_of("k.mp4")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("s3.us-west-2.amazonaws.com", "us-west-2"),
        ("s3-eu-west-1.amazonaws.com", "eu-west-1"),
        ("s3.dualstack.ap-south-1.amazonaws.com", "ap-south-1"),
        ("s3.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("s3.amazonaws.com", "us-east-1"),
        ("s3.us-west-004.backblazeb2.com", "us-west-004"),
        ("0123abc.r2.cloudflarestorage.com", "auto"),
        ("s3api-eu-ro-1.runpod.io", "EU-RO-1"),
        ("minio.example:9000", "us-east-1"),
        ("127.0.0.1:9000", "us-east-1"),
    ],
)
def test_the_region_is_the_one_that_the_host_is_in(host: str, expected: str) -> None:
    assert expected == region_of(host)


def test_a_region_that_is_given_wins() -> None:
    bucket = Bucket.from_parts(endpoint_url="https://s3.us-west-2.amazonaws.com/b", region="eu-west-3", **KEYS)

    assert "eu-west-3" == bucket.region


def test_a_jobs_own_s3_config_is_understood() -> None:
    bucket = Bucket.from_s3_config(
        {
            "accessId": "AKIDSECRET",
            "accessSecret": "hush-hush",
            "bucketName": "b",
            "endpointUrl": "https://s3.eu-central-1.amazonaws.com",
        },
        allow_hosts=("minio.local",),
    )

    assert ("b", "eu-central-1", "hush-hush") == (bucket.name, bucket.region, bucket.secret_access_key)
    assert (True, ("minio.local",)) == (bucket.is_callers, bucket.allow_hosts)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"accessSecret": "hush-hush", "endpointUrl": "https://h/b"}, "needs accessId"),
        ({"accessId": "AKIDSECRET", "accessSecret": ["hush-hush"], "endpointUrl": "https://h/b"}, "needs accessSecret"),
        ({"accessId": "AKIDSECRET", "accessSecret": "hush-hush"}, "needs endpointUrl"),
        ({"accessId": "AKIDSECRET", "accessSecret": "hush-hush", "endpointUrl": "https://h"}, "No bucket is named"),
        ({"accessId": "AKIDSECRET", "accessSecret": "hush-hush", "endpointUrl": "ftp://h/b"}, "must look like"),
        (
            {"accessId": "AKIDSECRET", "accessSecret": "hush-hush", "endpointUrl": "https://u:hush-hush@h/b"},
            "must look",
        ),
        (
            {"accessId": "AKIDSECRET", "accessSecret": "hush-hush", "endpointUrl": "https://h", "bucketName": 5},
            "bucketN",
        ),
        ({"accessId": "AKID\nHost: x", "accessSecret": "hush-hush", "endpointUrl": "https://h/b"}, "s3Config.accessId"),
        ({"accessId": "AKIDSECRET", "accessSecret": "hush-hush", "endpointUrl": "https://h\x00/b"}, "endpointUrl"),
    ],
)
def test_a_broken_s3_config_is_refused_without_its_secrets(config: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as caught:
        Bucket.from_s3_config(config)

    assert "s3Config" == caught.value.field
    assert "hush" not in str(caught.value)
    assert "AKID" not in str(caught.value)


def test_no_secret_is_in_the_repr() -> None:
    shown = repr(Bucket.from_parts(endpoint_url="https://h/b", **KEYS))

    assert "hush" not in shown
    assert "AKID" not in shown
    assert "name='b'" in shown


def test_keys_are_encoded_as_the_signature_wants_them() -> None:
    bucket = Bucket.from_parts(endpoint_url="https://h/b", prefix="/a b/", **KEYS)

    assert "https://h/b/a%20b/x%2By%28%C3%BC%29~_-.mp4" == bucket.url_of("x+y(\u00fc)~_-.mp4")
