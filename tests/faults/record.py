"""
Walk the whole matrix and write down what happened, for docs/reliability.md:

    PYTHONPATH=src:tests .venv/bin/python -m faults.record --times 3

It writes docs/reliability/faults.json; tests/write_pages.py makes the page's table of it. A row that fails is written
down as well, with the promise that was broken, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from faults.harness import can_mount, walk
from faults.matrix import FAULTS, Fault

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability" / "faults.json"


def main() -> int:
    """Walk, print a line for each row, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=3, help="how often each row is walked")
    parser.add_argument("--beside", type=int, default=2, help="how many rows are walked at once")
    parser.add_argument("--only", default="", help="walk only rows whose name contains this; others stay")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    rows = [(fault, door) for fault in FAULTS for door in fault.doors if options.only in f"{door}: {fault.name}"]
    with ThreadPoolExecutor(options.beside) as pool:
        found = list(pool.map(lambda row: _row(*row, options.times), rows))
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(json.dumps(_joined(found), indent=1) + "\n")
    return int(any(row["broken"] for row in found))


def _joined(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what was found before with *found* in its place, in the order of the matrix."""
    known = json.loads(PAGE.read_text()) if PAGE.exists() else []
    rows = {(row["what"], row["moment"], row["door"]): row for row in [*known, *found]}
    keys = [(fault.what, fault.moment, door) for fault in FAULTS for door in fault.doors]
    return [rows[key] for key in keys if key in rows]


def _row(fault: Fault, door: str, times: int) -> dict[str, Any]:
    row: dict[str, Any] = {"what": fault.what, "moment": fault.moment, "door": door, "walked": 0, "broken": []}
    if fault.needs_mount and not can_mount():
        row["broken"].append("not walked: no file system can be mounted here")
        times = 0
    began = time.monotonic()
    for broken in _walks(fault, door, times):
        row["walked"] += 1
        row["broken"] += [broken] if broken else []
    verdict = row["broken"][0] if row["broken"] else "kept"
    print(f"{door}: {fault.name}: {row['walked']} times in {time.monotonic() - began:.0f} s: {verdict}", flush=True)
    return row


def _walks(fault: Fault, door: str, times: int) -> Iterator[str | None]:
    for _ in range(times):
        with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as folder:
            try:
                walk(fault, door, Path(folder))
            except AssertionError as error:
                yield str(error).splitlines()[0]
            else:
                yield None


if __name__ == "__main__":
    sys.exit(main())
