from __future__ import annotations

import re

import pytest

from wanworker import errors
from wanworker.errors import EngineTimeout, InvalidRequest, NoOutput, RequestError, WorkerError

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, WorkerError)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_has_what_a_door_renders(kind: type[WorkerError]) -> None:
    assert re.fullmatch(r"[A-Z_]+", kind.code)
    assert kind.status in {"ERROR", "TIMEOUT", "NO_OUTPUT", "timeout"}
    assert 400 <= kind.http_status < 600
    assert kind.default_hint.endswith(".")


@pytest.mark.parametrize("kind", KINDS)
def test_the_callers_errors_are_4xx_and_ours_are_5xx(kind: type[WorkerError]) -> None:
    assert issubclass(kind, RequestError) == (kind.http_status < 500)


@pytest.mark.parametrize("kind", KINDS)
def test_the_tree_in_the_docstring_names_every_error(kind: type[WorkerError]) -> None:
    assert re.search(rf"[*x+-] {kind.__name__}\b", errors.__doc__ or "")


def test_no_two_kinds_share_a_code_but_a_family_and_its_plain_member() -> None:
    shared = [kind.__name__ for kind in KINDS if [other.code for other in KINDS].count(kind.code) > 1]

    assert ["RequestError", "InvalidRequest", "EngineTimeout", "GraphTimeout"] == shared


def test_an_error_says_its_message_and_its_kinds_hint() -> None:
    error = NoOutput("The engine wrote no file.")

    assert ("The engine wrote no file.", NoOutput.default_hint, None) == (str(error), error.hint, error.field)


def test_a_hint_and_a_field_of_its_own_win() -> None:
    error = InvalidRequest("steps must be at least 1; got 0.", hint="Leave it out.", field="steps")

    assert ("Leave it out.", "steps") == (error.hint, error.field)


def test_a_deadline_and_a_missing_output_have_statuses_of_their_own() -> None:
    assert ("TIMEOUT", 504, "NO_OUTPUT") == (EngineTimeout.status, EngineTimeout.http_status, NoOutput.status)


def test_secrets_in_what_an_error_quotes_reach_nobody() -> None:
    url, header = "https://me:S3cr3tS3cr3t@host/a?X-Amz-Signature=S3cr3tS3cr3t", "Authorization: Bearer S3cr3tS3cr3t"
    told = f"exit code 1: GET {url}, {header}"

    error = WorkerError(told, hint=told)

    assert "S3cr3t" not in f"{error} {error.hint}"
    assert "exit code 1: GET https://***@host/a?X-Amz-Signature=***" in str(error)
