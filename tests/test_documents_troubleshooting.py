"""docs/troubleshooting.md has a section for each code that a caller can meet, and quotes what the code really says."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

import pages
from error_texts import patterns
from page_tables import kinds
from wanworker.actions import ACTIONS
from wanworker.actions.envelope import resolve
from wanworker.actions.generate.request import GenerateRequest
from wanworker.actions.request.fields import parse
from wanworker.app import Worker
from wanworker.errors import WorkerError
from wanworker.rest._app import create_app
from wanworker.settings import Settings
from write_pages import rest_refusals

PAGE = pages.read("docs/troubleshooting.md")

#: Code -> its section.
SECTIONS = dict(re.findall(r"^## ([A-Z_]{4,})\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))

#: Codes of jobs that no error of the tree has (jobs/runner.py), and of requests that reach no route.
OF_RECORDS = {"CANCELLED", "STOPPED"}
OF_ROUTES = {"NOT_FOUND", "METHOD_NOT_ALLOWED"}

#: Texts that the source puts together from parts, made here.
MADE: dict[str, Callable[[], object]] = {
    "UNKNOWN_ACTION": lambda: resolve({"action": "dance"}, ACTIONS),
    "INVALID_REQUEST": lambda: parse(GenerateRequest, {"sample_steps": 500}),
}


def quotes(section: str) -> list[str]:
    return re.findall(r"^> (.+)$", section, re.MULTILINE)


def test_each_code_has_its_section_and_no_other_has() -> None:
    codes = {kind.code for kind in kinds()} | {kind.code for kind in rest_refusals()} | OF_RECORDS | OF_ROUTES

    assert codes == SECTIONS.keys()


def test_codes_of_records_are_the_sources() -> None:
    text = "".join(path.read_text() for path in (pages.ROOT / "src/wanworker/jobs").glob("*.py"))
    literal = set(re.findall(r'JobError\("([A-Z_]+)"', text))

    assert OF_RECORDS | {"INTERNAL"} == literal


@pytest.mark.parametrize("code", SECTIONS)
def test_a_section_says_what_is_seen_why_and_what_to_do(code: str) -> None:
    section = SECTIONS[code]

    assert quotes(section)
    assert re.search(r"^Why: \S", section, re.MULTILINE)
    assert re.search(r"^Do: \S", section, re.MULTILINE)


@pytest.mark.parametrize(
    ("code", "text"), [(code, text) for code in sorted(SECTIONS.keys() - OF_ROUTES) for text in quotes(SECTIONS[code])]
)
def test_a_quoted_error_is_one_that_the_source_says(code: str, text: str) -> None:
    said = patterns().get(code, ())
    # media/inputs/reader.py puts the input's name before what is wrong with it.
    bare = re.sub(r"^reference image: ", "", text)

    assert any(re.fullmatch(pattern, bare) for pattern in said) or text == made(code)


def made(code: str) -> str:
    with pytest.raises(WorkerError) as caught:
        MADE[code]()
    assert code == caught.value.code
    return str(caught.value)


@pytest.mark.parametrize(("method", "path"), [("GET", "/nothing"), ("PUT", "/generate")])
def test_the_texts_of_no_route_are_what_the_server_answers(method: str, path: str, settings: Settings) -> None:
    client = TestClient(create_app(Worker(settings), settings), base_url="http://localhost")
    answer = client.request(method, path).json()

    assert answer["code"] in OF_ROUTES
    assert [answer["error"]] == quotes(SECTIONS[answer["code"]])


def test_a_text_that_nothing_says_is_found() -> None:
    assert not any(re.fullmatch(pattern, "Your GPU is too small.") for pattern in patterns()["OUT_OF_MEMORY"])
