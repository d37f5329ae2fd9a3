"""docs/comparison.md says of us only what a test or a benchmark shows, and of others only what a commit shows."""

from __future__ import annotations

import ast
import re

import pytest

import pages

PAGE = pages.read("docs/comparison.md")
ROWS = re.findall(r"^\| (?!-|What happens|Project)(.*) \|$", PAGE, re.MULTILINE)


@pytest.mark.parametrize(("path", "test"), re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE))
def test_a_test_that_speaks_for_us_exists(path: str, test: str) -> None:
    tree = ast.parse(pages.read(path))
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}

    assert test in functions


@pytest.mark.parametrize("row", [row.split(" | ") for row in ROWS if "tests/" in row], ids=lambda row: row[0])
def test_each_row_has_a_test_of_ours_and_names_where_it_was_read(row: list[str]) -> None:
    assert 3 == len(row)
    assert re.fullmatch(r"`tests/[\w/]+\.py::test_\w+`", row[2])


def test_each_project_is_named_with_its_commit() -> None:
    projects = [row.split(" | ") for row in ROWS if row.startswith("[")]

    assert 6 == len(projects)
    for name, commit, _ in projects:
        address = re.search(r"\((https://github\.com/[\w./-]+)\)", name)
        assert address is not None
        assert re.search(rf"\({re.escape(address[1])}/tree/[0-9a-f]{{40}}\)", commit)


@pytest.mark.parametrize(
    ("measured", "said"),
    [
        ("+6.9 ms", "6.9 ms more than"),
        ("1.18x", "1.18 times as long"),
        ("0.92x", "0.92 times the memory"),
        ("| 62.5 ms | 16.9 ms |", "added 16.9 ms to a run where that one added 62.5;"),
        ("| 9.2 ms | 15.6 ms |", "own part was 15.6 ms where that one's was 9.2."),
        ("(bare: 93) | 42.2 |", "take 42.2 ms where a bare handler's take 93."),
    ],
)
def test_figures_are_those_of_the_benchmarks(measured: str, said: str) -> None:
    assert measured in pages.read("docs/benchmarks.md")
    assert said in " ".join(PAGE.split())
