"""Tables for docs/mini.md: what the miniature knows, from the words that it was trained with, and how it was judged."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pages import ROOT, table
from train_mini import sentences, words
from train_mini.scene import MOTIONS, PAIR_MOTIONS

#: The reports that `scripts/train_mini/run judge` wrote, and what each column of the table is called.
REPORTS = {
    "ti2v": "One network, 20 steps",
    "t2v": "Experts, text, 20 steps",
    "t2v-4steps": "Experts, text, the pair, 4 steps",
    "i2v": "Experts, picture, 20 steps",
    "i2v-4steps": "Experts, picture, the pair, 4 steps",
}

#: How many other words for a thing a row names.
_NAMED = 5


def words_table() -> str:
    """Return what can be said, and some of the words for each."""
    return table("What|Known, and some of the other words", _rows())


def _rows() -> Iterator[tuple[str, str]]:
    yield "Colours", _said(words.COLOR_WORDS)
    yield "Shapes", _said({name: [one for one, _ in forms] for name, forms in words.SHAPE_WORDS.items()})
    yield "Sizes, of one thing", _said(words.SIZE_WORDS)
    moves = {name: [once for once, _, _ in words.MOTION_WORDS[name]] for name in MOTIONS}
    yield "Motions of one thing", _said(moves)
    yield "Motions of two", ", ".join(f"`{name}`" for name in PAIR_MOTIONS)
    yield "Relations of two", _said({
        name: [each.format(a="A", b="B") for each in sentences.PAIR_WORDS[name]] for name in ("above", "left")
    })  # fmt: skip
    yield "Places", _said(words.PLACE_WORDS)


def _said(known: Mapping[str, Any]) -> str:
    lines = []
    for name, others in known.items():
        different = [each for each in dict.fromkeys(others) if each != name]
        different = different[:: -(-len(different) // _NAMED) or 1]
        lines.append(f"`{name}`" + (f" ({', '.join(different)})" if different else ""))
    return ", ".join(lines)


def measured_table() -> str:
    """Return the share of clips in which each attribute was right, by report, with the number of clips."""
    reports = {
        column: json.loads((ROOT / "docs" / "mini" / f"{name}.json").read_text(encoding="utf-8"))
        for name, column in REPORTS.items()
        if (ROOT / "docs" / "mini" / f"{name}.json").is_file()
    }
    attributes = list(dict.fromkeys(name for report in reports.values() for name in report["rates"]))
    rows = [
        (name, *(_share(report, name) for report in reports.values())) for name in sorted(attributes, key=_kind_first)
    ]
    rows.append(("first frame, mean", *(_db(report, "first_frame_mean_db") for report in reports.values())))
    rows.append(("first frame, worst", *(_db(report, "first_frame_worst_db") for report in reports.values())))
    rows.append(("seconds a clip", *(f"{report['seconds_a_clip']:.2f}" for report in reports.values())))
    return table("|".join(["Right", *reports]), rows)


def _kind_first(attribute: str) -> tuple[int, str]:
    return ("single", "pair", "picture").index(attribute.split()[0]), attribute


def _share(report: dict[str, Any], name: str) -> str:
    if name not in report["rates"]:
        return ""
    return f"{100 * report['rates'][name]:.1f} % of {report['counts'][name]}"


def _db(report: dict[str, Any], name: str) -> str:
    return "" if report[name] is None else f"{report[name]:.1f} dB"
