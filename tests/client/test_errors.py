"""The errors of the client are documented, and each has a code of its own."""

from __future__ import annotations

import re

import pages
from wanworker import client
from wanworker.client import ClientError, TargetFailed
from wanworker.client import errors as errors_module


def kinds() -> dict[str, type[ClientError]]:
    found = {name: value for name, value in vars(errors_module).items() if isinstance(value, type)}
    return {name: kind for name, kind in found.items() if issubclass(kind, ClientError) and kind is not ClientError}


def test_every_error_is_on_the_page_and_in_the_packages_face() -> None:
    section = pages.read("docs/api.md").partition("## The client in Python")[2].partition("### Without the client")[0]
    documented = re.findall(r"^\| `(\w+)` \| [A-Z`]", section.partition("| Error |")[2], re.MULTILINE)

    assert {*kinds()} == {*documented}
    assert {*kinds()} <= {*client.__all__}


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [kind.default_code for kind in kinds().values()]

    assert len(codes) == len({*codes})


def test_secrets_are_blotted_out() -> None:
    error = TargetFailed("https://bucket/x?X-Amz-Signature=abcdef0123456789", hint="Bearer rpa_abcdefghijklmnopqrstuvw")

    assert "abcdef0123456789" not in str(error)
    assert "rpa_" not in error.hint


def test_every_method_is_on_the_page_and_in_both_clients() -> None:
    section = pages.read("docs/api.md").partition("## The client in Python")[2].partition("`fields` are")[0]
    documented = {*re.findall(r"^\| `(\w+)\(", section, re.MULTILINE)}

    for kind in (client.Client, client.AsyncClient):
        public = {name for name, value in vars(kind).items() if callable(value) and not name.startswith("_")}
        assert documented == public - {"close"}
