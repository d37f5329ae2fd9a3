"""Hold the findings of doctor, and write them as JSON for programs. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from wanworker.models.files.damage import Damaged
from wanworker.models.hub.catalogue import Preset

#: The miniature renders everywhere, but not in usable quality, so it does not make a machine ready.
STAND_IN = "mini"


@dataclass(frozen=True, slots=True)
class Row:
    """
    Describe one engine and one of its tasks.

    `missing` has to be installed or fetched, `lacking` is what the machine lacks; `preset` is the set of weights that
    would help. `plan` is where the weights of a plain job would be, from an engine that decides it. `is_only` says that
    no other engine renders the task, here or elsewhere.
    """

    engine: str
    task: str
    missing: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()
    preset: Preset | None = None
    plan: Mapping[str, Any] | None = None
    is_only: bool = False

    @property
    def is_ready(self) -> bool:
        """Say whether the engine can render the task here."""
        return not self.missing and not self.lacking

    @property
    def command(self) -> str:
        """Return the command that gets the weights, or an empty text if none are missing."""
        return f"wanworker fetch {self.preset.name}" if self.preset else ""


@dataclass(frozen=True, slots=True)
class Check:
    """
    Describe a finding about the machine. `is_bad` ones need attention; with a `stops_all` one nothing can be rendered.
    """

    name: str
    text: str
    is_bad: bool = False
    stops_all: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """Hold everything that doctor found. `free_bytes` is the free space where weights would go."""

    rows: tuple[Row, ...]
    checks: tuple[Check, ...]
    damaged: tuple[Damaged, ...] = ()
    searched: tuple[str, ...] = field(default=())
    free_bytes: int = 0

    @property
    def can_render(self) -> bool:
        """Say whether some engine other than the miniature can render some task, and no finding stops them all."""
        is_stopped = any(check.stops_all for check in self.checks)
        return not is_stopped and any(row.is_ready for row in self.rows if row.engine != STAND_IN)


def as_json(report: Report) -> dict[str, Any]:
    """Return the report for programs. Sizes are in bytes."""
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
                "only_engine": row.is_only,
                "placement": dict(row.plan) if row.plan is not None else None,
            }
            for row in report.rows
        ],
        "checks": [{"name": check.name, "ok": not check.is_bad, "text": check.text} for check in report.checks],
        "damaged": [{"path": str(file.path), "flaw": file.flaw} for file in report.damaged],
        "searched": list(report.searched),
        "free_bytes": report.free_bytes,
    }
