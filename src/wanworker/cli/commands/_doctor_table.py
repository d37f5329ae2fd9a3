"""The findings of doctor as a table for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from wanworker.models.hub.catalogue import Preset
from wanworker.models.hub.fetch import in_words
from wanworker.models.machine.doctor import STAND_IN, Check, Report, Row
from wanworker.text.printable import on_its_lines

_STYLES = {"only": "dim", "ready": "green", "missing": "yellow", "lacks": "yellow", "get": "bold", "plan": ""}


#: How many damaged files the short page names.
_MOST_DAMAGED = 3


def doctor_table(report: Report, *, every_engine: bool = False) -> Group:
    """
    Return the report for console.show: the verdict, the machine, each task, and the damaged files.

    A task has one line, to fit the screen. With *every_engine*, each of its engines says what it misses.
    """
    parts: list[RenderableType] = [_text(_verdict(report), "bold"), "", _checks(report.checks), ""]
    parts.append(_rows(report) if every_engine else _tasks(report))
    named = report.damaged if every_engine else report.damaged[:_MOST_DAMAGED]
    if named:
        parts += ["", "These files are damaged. A fetch of the set that they belong to replaces them:"]
        parts += [_text(f"  {file.path}: {file.flaw}") for file in named]
    if every_engine:
        parts += ["", _text(f"Searched: {', '.join(report.searched)}")]
    else:
        more = len(report.damaged) - len(named)
        parts += ["", _text(f"--all shows every engine{f', and {more} more damaged files' if more else ''}.")]
    return Group(*parts)


def _text(text: str, style: str = "") -> Text:
    return Text(on_its_lines(text), style, overflow="fold")


def _checks(checks: tuple[Check, ...]) -> Table:
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(min_width=3)
    table.add_column(min_width=11)
    for check in checks:
        table.add_row(Text("BAD" if check.is_bad else "", "bold red"), check.name, _text(check.text))
    return table


def _rows(report: Report) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    real = [row for row in report.rows if row.engine != STAND_IN]
    for task in dict.fromkeys(row.task for row in real):
        table.add_row(Text(task, "bold"))
        for row in (row for row in real if row.task == task):
            first = f"  {row.engine}"
            for label, text in _said_of(row, report.free_bytes):
                table.add_row(first, Text(label, _STYLES[label]), _text(text))
                first = ""
    return table


def _tasks(report: Report) -> Table:
    """Return a line for each task: the engines that are ready, or what helps the one that needs the least."""
    table = Table.grid(padding=(0, 2, 0, 0))
    real = [row for row in report.rows if row.engine != STAND_IN]
    for task in dict.fromkeys(row.task for row in real):
        rows = [row for row in real if row.task == task]
        ready = [row.engine for row in rows if row.is_ready]
        label = "ready" if ready else "missing"
        text = ", ".join(ready) if ready else _what_helps(rows, report.free_bytes)
        table.add_row(Text(task, "bold"), Text("ready" if ready else "not ready", _STYLES[label]), _text(text))
    return table


def _what_helps(rows: Sequence[Row], free_bytes: int) -> str:
    """Return the command that fetches the smallest set, or else what an engine lacks."""
    fetchable = [(row.preset.size_bytes or float("inf"), row.command, row.preset) for row in rows if row.preset]
    if fetchable:
        _, command, preset = min(fetchable, key=lambda each: each[0])
        return f"{command}  ({_room_for(preset, free_bytes)})"
    row = rows[0]
    return f"{row.engine}: {(*row.lacking, *row.missing)[0]}"


def _said_of(row: Row, free_bytes: int) -> Iterator[tuple[str, str]]:
    if row.is_ready:
        yield "ready", ""
    if row.is_only:
        yield "only", "no other engine renders this task"
    if row.missing:
        yield "missing", "\n".join(row.missing)
    if row.lacking:
        yield "lacks", "\n".join(row.lacking)
    if row.plan and row.plan["device"] != "cpu":
        yield "plan", _in_words(row.plan)
    if row.preset:
        yield "get", f"{row.command}  ({_room_for(row.preset, free_bytes)})"


def _in_words(plan: Mapping[str, Any]) -> str:
    """Return a plan for people: where each part is, and the largest stage."""
    parts = f"experts {plan['experts']}, text encoder {plan['text_encoder']}, VAE {plan['vae']}"
    vae = f"{plan['vae_dtype']} {plan['decode']}"
    stage, peak_gib = max(plan["gpu_gib"].items(), key=lambda each: each[1])
    return (
        f"{plan['profile']}: {parts} ({vae}); {peak_gib:g} GiB of the GPU while {stage}, {plan['host_gib']:g} of memory"
    )


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
        return f"This machine cannot render: see {', '.join(dict.fromkeys(stopped))} below."
    stands_in = any(row.engine == STAND_IN for row in report.rows)
    return "No real engine can render here" + ("; the miniature stands in (WAN_MINI)." if stands_in else ".")
