"""The pages: their blocks of code and what each is marked with, their links, and the parts written from the code."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

_BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>[^\n]*) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_GENERATED = re.compile(
    r"(<!-- generated: (?P<name>[^\n]+) -->\n)(?P<text>.*?)(^<!-- end -->$)", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code: its language, its text, the comment before it, and the heading that it stands under."""

    page: str
    heading: str
    language: str
    text: str
    mark: str


def pages() -> list[Path]:
    """Return every page of ours."""
    return sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def read(name: str) -> str:
    """Return the text of the page that lies at *name* below the repository's top."""
    return (ROOT / name).read_text(encoding="utf-8")


def all_blocks(name: str) -> list[Block]:
    """Return every block of code of the page *name*, in order."""
    text = read(name)
    found = []
    for match in _BLOCK.finditer(text):
        headings = re.findall(r"^##+ (.+)$", _BLOCK.sub("", text[: match.start()]), re.MULTILINE)
        heading = headings[-1] if headings else ""
        found.append(Block(name, heading, match["language"], match["text"], match["mark"] or ""))
    return found


def blocks(page: str, language: str) -> list[str]:
    """Return the text of every code block of *language*."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def links(page: str) -> list[str]:
    """Return where the page's links and pictures lead, those to other hosts left out."""
    targets = re.findall(r"\]\(([^)\s]+)\)", page)
    return [target for target in targets if "://" not in target]


def anchors(page: str) -> set[str]:
    """Return the names of the page's headings, as links write them."""
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def paths_named(page: str) -> list[str]:
    """Return the paths of this repository that the page names in code marks, placeholders left out."""
    known = r"(?:scripts|src|tests|docs|bench|\.ci)/[\w./-]+|handler\.py|test_input\.json|requirements[\w-]*\.\w+"
    return re.findall(rf"`({known})`", page)


def table(head: str, rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table under *head*, its column names joined by bars."""
    names = head.split("|")
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def generated(page: str) -> list[str]:
    """Return the names of the parts of *page* that are written from the code."""
    return [match["name"] for match in _GENERATED.finditer(page)]


def with_parts(page: str, part: Callable[[str], str]) -> str:
    """Return *page* with each part of it that is written from the code as *part* returns it for its name."""
    return _GENERATED.sub(lambda match: f"{match[1]}{part(match['name'])}\n{match[4]}", page)
