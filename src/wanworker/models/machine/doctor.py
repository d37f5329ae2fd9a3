"""The findings of doctor, as a table for people and as JSON for programs. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from wanworker.models.files.damage import Damaged
from wanworker.models.hub.catalogue import Preset
from wanworker.models.hub.fetch import in_words

#: The miniature renders everywhere, and nobody's film: it makes no machine ready.
_STAND_IN = "mini"


@dataclass(frozen=True, slots=True)
class Row:
    """
    One engine and one of its tasks.

    `missing` has to be installed or fetched, `lacking` is what the machine lacks; `preset` is the set of weights that
    would help.
    """

    engine: str
    task: str
    missing: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()
    preset: Preset | None = None

    @property
    def is_ready(self) -> bool:
        """The engine can render the task here."""
        return not self.missing and not self.lacking

    @property
    def command(self) -> str:
        """What gets the weights, empty where none are wanted."""
        return f"wanworker fetch {self.preset.name}" if self.preset else ""


@dataclass(frozen=True, slots=True)
class Check:
    """Something of the machine itself; `is_bad` ones want a hand, `stops_all` ones let nothing be rendered."""

    name: str
    text: str
    is_bad: bool = False
    stops_all: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that doctor found; `free_bytes` is the room where weights would go."""

    rows: tuple[Row, ...]
    checks: tuple[Check, ...]
    damaged: tuple[Damaged, ...] = ()
    searched: tuple[str, ...] = field(default=())
    free_bytes: int = 0

    @property
    def can_render(self) -> bool:
        """Some engine other than the miniature can render some task, and nothing stops them all."""
        is_stopped = any(check.stops_all for check in self.checks)
        return not is_stopped and any(row.is_ready for row in self.rows if row.engine != _STAND_IN)


def as_table(report: Report, width: int) -> str:
    """Return the report as lines of at most *width* characters, where a word is not longer than that."""
    lines = [_checked(check, width) for check in report.checks]
    lines += ["", *_rows(report, width)]
    if report.damaged:
        lines += ["", "Damaged files; a fetch of the set that they belong to replaces them:"]
        lines += [_wrapped(f"{file.path}: {file.flaw}", "  ", width) for file in report.damaged]
    lines += ["", _wrapped(f"Searched: {', '.join(report.searched)}", "", width), "", _verdict(report)]
    return "\n".join(lines)


def as_json(report: Report) -> dict[str, Any]:
    """Return the report for programs; sizes are bytes."""
    return {
        "can_render": report.can_render,
        "engines": [
            {
                "engine": row.engine,
                "task": row.task,
                "ready": row.is_ready,
                "missing": list(row.missing),
                "lacking": list(row.lacking),
                "fetch": row.command or None,
                "fetch_bytes": row.preset.size_bytes if row.preset else None,
            }
            for row in report.rows
        ],
        "checks": [{"name": check.name, "ok": not check.is_bad, "text": check.text} for check in report.checks],
        "damaged": [{"path": str(file.path), "flaw": file.flaw} for file in report.damaged],
        "searched": list(report.searched),
        "free_bytes": report.free_bytes,
    }


def _checked(check: Check, width: int) -> str:
    mark = "BAD " if check.is_bad else "    "
    return _wrapped(check.text, f"{mark}{check.name:<12}", width)


def _rows(report: Report, width: int) -> Iterable[str]:
    real = [row for row in report.rows if row.engine != _STAND_IN]
    for task in dict.fromkeys(row.task for row in real):
        for number, row in enumerate(row for row in real if row.task == task):
            start = f"{task if number == 0 else '':<13}{row.engine:<11}"
            for label, text in _said_of(row, report.free_bytes):
                yield _wrapped(text, f"{start}{label:<9}", width)
                start = " " * len(start)


def _said_of(row: Row, free_bytes: int) -> Iterable[tuple[str, str]]:
    if row.is_ready:
        yield "ready", ""
    if row.missing:
        yield "missing", "; ".join(row.missing)
    if row.lacking:
        yield "lacks", "; ".join(row.lacking)
    if row.preset:
        yield "get", f"{row.command}  ({_room_for(row.preset, free_bytes)})"


def _room_for(preset: Preset, free_bytes: int) -> str:
    if preset.size_bytes is None:
        return "it asks the hub for the size"
    size = in_words(preset.size_bytes)
    return size if preset.size_bytes < free_bytes else f"{size}, and {in_words(free_bytes)} are free"


def _verdict(report: Report) -> str:
    if report.can_render:
        return "This machine can render."
    stopped = [check.name for check in report.checks if check.stops_all]
    if stopped:
        return f"This machine cannot render: see {', '.join(dict.fromkeys(stopped))} above."
    stands_in = any(row.engine == _STAND_IN for row in report.rows)
    return "No real engine can render here" + ("; the miniature stands in (WAN_MINI)." if stands_in else ".")


def _wrapped(text: str, start: str, width: int) -> str:
    indent = " " * len(start)
    return "\n".join(
        textwrap.wrap(
            text,
            width,
            initial_indent=start,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        or [start.rstrip()]
    )
