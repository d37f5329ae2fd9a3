"""The findings of doctor as a table for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from wanworker.models.hub.catalogue import Preset
from wanworker.models.hub.fetch import in_words
from wanworker.models.machine.doctor import STAND_IN, Check, Report, Row
from wanworker.text.printable import on_its_lines

_STYLES = {"only": "dim", "ready": "green", "missing": "yellow", "lacks": "yellow", "get": "bold", "plan": ""}


def doctor_table(report: Report) -> Group:
    """
    Return the report for console.show: the machine, each task with its engines, the damaged files and the verdict.
    """
    parts: list[RenderableType] = [_checks(report.checks), "", _rows(report)]
    if report.damaged:
        parts += ["", "These files are damaged. A fetch of the set that they belong to replaces them:"]
        parts += [_text(f"  {file.path}: {file.flaw}") for file in report.damaged]
    parts += ["", _text(f"Searched: {', '.join(report.searched)}"), "", _text(_verdict(report))]
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
        return f"This machine cannot render: see {', '.join(dict.fromkeys(stopped))} above."
    stands_in = any(row.engine == STAND_IN for row in report.rows)
    return "No real engine can render here" + ("; the miniature stands in (WAN_MINI)." if stands_in else ".")
