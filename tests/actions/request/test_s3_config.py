"""A job's own bucket: its other names, and what is refused of it."""

import pytest

from wanworker.actions.request.s3_config import own_bucket
from wanworker.errors import InvalidRequest

GOOD = {"accessId": "AKIDSECRET", "accessSecret": "hush-hush", "bucketName": "b", "endpointUrl": "https://s3.test"}


def bucket(config):
    return own_bucket(config, allow_hosts=())


@pytest.mark.parametrize("config", [None, {}])
def test_no_bucket_is_none(config):
    assert bucket(config) == (None, [])


def test_other_names_of_its_fields_are_taken_and_unknown_ones_told():
    found, remarks = bucket(
        {
            "accessKeyId": "a",
            "secretAccessKey": "s\n",
            "bucket": " b ",
            "endpoint": "https://h",
            "acl": 1,
            "region": None,
        }
    )

    assert (found.name, found.secret_access_key, found.endpoint_url) == ("b", "s", "https://h")
    assert remarks == ["unknown field 's3Config.acl' was ignored."]


@pytest.mark.parametrize(
    "changes",
    [
        {"endpointUrl": "https://h:port"},
        {"endpointUrl": "https://h:99999"},
        {"endpointUrl": "https://[::1"},
        {"endpointUrl": "https://h h"},
        {"endpointUrl": "https://-"},
        {"endpointUrl": "https://h/b#x"},
        {"endpointUrl": "h/b"},
        {"endpointUrl": " "},
        {"endpointUrl": 7},
        {"bucketName": "a b"},
        {"bucketName": "../b"},
        {"bucketName": ["b"]},
        {"bucketName": "b/c"},
        {"accessId": "a b"},
        {"accessId": None},
        {"accessSecret": "hush\r\nX: y"},
        {"accessSecret": "hush\u00e9"},
        {"accessSecret": True},
    ],
    ids=str,
)
def test_a_malformed_field_is_refused_without_its_value(changes):
    with pytest.raises(InvalidRequest, match="s3Config") as refused:
        bucket({**GOOD, **changes})

    assert refused.value.field == "s3Config"
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize("config", ["s3://b", ["b"], 7, True])
def test_a_bucket_that_is_no_object_is_refused(config):
    with pytest.raises(InvalidRequest, match="s3Config must be an object with accessId"):
        bucket(config)


@pytest.mark.parametrize(
    ("endpoint", "given", "used"),
    [
        ("https://s3.test", " eu-central-1 ", "eu-central-1"),
        ("https://s3.test", " ", "us-east-1"),
        ("https://s3.us-west-2.amazonaws.com", "eu-west-1", "eu-west-1"),
        ("https://s3api-eu-ro-1.runpod.io", "eu-ro-1", "EU-RO-1"),
    ],
)
def test_a_region_that_is_given_is_the_one_of_the_signature(endpoint, given, used):
    found, remarks = bucket(GOOD | {"endpointUrl": endpoint, "region_name": given})

    assert (found.region, remarks) == (used, [])


@pytest.mark.parametrize("region", [7, "eu central", "eu/../x", "x" * 65])
def test_a_malformed_region_is_refused_without_its_value(region):
    with pytest.raises(InvalidRequest, match="s3Config") as refused:
        bucket(GOOD | {"region": region})

    assert str(region) not in str(refused.value)
