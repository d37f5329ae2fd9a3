"""
Every block of code on every page is run by a test, or says why not.

The comment on the line before a block says which: `<!-- run by tests/test_x.py::test_y -->` or `<!-- not run: why -->`.
A block of JSON that is a job needs none: tests/test_documents.py reads every one of them.
"""

from __future__ import annotations

import ast
import json
import re
from functools import cache
from pathlib import Path

import pytest

from pages import ROOT, Block, all_blocks, pages

BLOCKS = [block for path in pages() for block in all_blocks(path.relative_to(ROOT).as_posix())]


def name_of(block: Block) -> str:
    return f"{block.page}#{block.heading}"


@cache
def functions_of(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text())
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def wrong_with(block: Block) -> str | None:
    """Return what is wrong with the mark of *block*, None if nothing is."""
    mark = block.mark
    if block.language == "json" and "input" in json.loads(block.text):
        return None
    if re.fullmatch(r"not run: \S.{9,}", mark):
        return None
    if not (named := re.fullmatch(r"run by (tests/[\w/]+\.py)::(test_\w+)", mark)):
        return f"wants a line before it: <!-- run by tests/...::test_... --> or <!-- not run: why -->; has {mark!r}"
    path, test = named.groups()
    if not (ROOT / path).is_file() or test not in functions_of(path):
        return f"there is no test {path}::{test}"
    page = block.page.rpartition("/")[2]
    reads_all = ROOT / path == Path(__file__)
    return None if reads_all or page in (ROOT / path).read_text() else f"{path} never reads {page}"


@pytest.mark.parametrize("block", BLOCKS, ids=name_of)
def test_a_block_is_run_or_says_why_not(block: Block) -> None:
    assert wrong_with(block) is None


def test_every_fence_of_every_page_is_a_block() -> None:
    fences = sum(len(re.findall(r"^\s*```", path.read_text(), re.MULTILINE)) for path in pages())

    assert 2 * len(BLOCKS) == fences


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.name)
def test_no_block_hides_by_being_indented_instead_of_fenced(path: Path) -> None:
    text = re.sub(r"^\s*```.*?^\s*```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)

    # After a blank line, four spaces make a block of code, but for the rest of an entry of a list.
    hidden = re.findall(r"^(?![-*\d ]).*\n\n( {4}\S.*)$", text, re.MULTILINE)
    assert [] == hidden


@pytest.mark.parametrize(
    ("mark", "language", "word"),
    [
        ("", "sh", "wants a line"),
        ("not run:", "sh", "wants a line"),
        ("run by tests/test_documents_blocks.py::test_of_nothing", "sh", "there is no test"),
        ("run by tests/test_nowhere.py::test_x", "python", "there is no test"),
        ("run by tests/test_spec.py::test_documented_sizes_parse", "python", "there is no test|never reads"),
    ],
)
def test_a_block_that_nobody_runs_is_found(mark: str, language: str, word: str) -> None:
    wrong = wrong_with(Block("docs/none-such.md", "Heading", language, "{}\n", mark))

    assert wrong is not None
    assert re.search(word, wrong)


def environments() -> list[Block]:
    return [block for block in BLOCKS if block.text and re.fullmatch(r"(export \w+=\S*\n)+", block.text)]


@pytest.mark.parametrize("block", environments(), ids=name_of)
def test_an_environment_on_a_page_is_one_that_the_worker_takes(block: Block) -> None:
    from wanworker.settings import Settings, load_settings

    values = dict(line.removeprefix("export ").split("=", 1) for line in block.text.splitlines())
    known = {str(field.validation_alias) for field in Settings.model_fields.values()}

    load_settings(values)
    assert set() == values.keys() - known
