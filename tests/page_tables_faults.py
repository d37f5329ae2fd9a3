"""The table of docs/reliability.md: each row of the fault matrix, and what its walks found."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from faults.doors import DOORS, End
from faults.matrix import FAULTS, Fault
from pages import ROOT, table

RECORD = ROOT / "docs" / "reliability" / "faults.json"


def matrix_table() -> str:
    """Return a row for each fault. Raises KeyError for one that was not walked: `python -m faults.record` does it."""
    walked = {(row["what"], row["moment"], row["door"]): row for row in json.loads(RECORD.read_text(encoding="utf-8"))}
    return table("|".join(("What breaks", "When", "How the job ends", *DOORS)), _rows(walked))


def _rows(walked: Mapping[tuple[str, str, str], Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    for fault in FAULTS:
        cells = [_cell(walked[fault.what, fault.moment, door]) if door in fault.doors else "" for door in DOORS]
        yield (fault.what, fault.moment, _end(fault), *cells)


def _end(fault: Fault) -> str:
    if isinstance(fault.end, Mapping):
        return "; ".join(f"{door}: {_words(end)}" for door, end in fault.end.items())
    return _words(fault.end)


def _words(end: End) -> str:
    status, code = end
    return f"`{code if code and status == 'ERROR' else status}`"


def _cell(row: Mapping[str, Any]) -> str:
    kept = f"{row['walked'] - len(row['broken'])} of {row['walked']}"
    return f"{kept}: {row['broken'][0]}" if row["broken"] else kept
