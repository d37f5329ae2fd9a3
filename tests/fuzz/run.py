"""
Feed each target for some minutes: PYTHONPATH=src:tests .venv/bin/python -m fuzz.run --minutes 10

It prints a line for each target, and what broke it, as small as Hypothesis can make it; the exit code is 1 then.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
import traceback
from typing import Any

from hypothesis import HealthCheck, given, settings

from fuzz.targets import SLOWEST_S, TARGETS, Target

_ROUND = 500


def examples(target: Target, *, count: int, repeats_itself: bool) -> None:
    """Feed *target* with *count* examples. Raises what it raised, or AssertionError where it took too long."""

    @settings(
        max_examples=count,
        deadline=None,
        derandomize=repeats_itself,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(target.strategy)
    def feed(value: Any) -> None:
        began = time.process_time()
        with contextlib.suppress(target.refuses_with):
            target.feed(value)
        took_s = time.process_time() - began
        assert took_s < SLOWEST_S, f"one example took {took_s:.1f} s"

    feed()


def main() -> int:
    """Run every target, or the one that is named, for the time that is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--target", choices=list(TARGETS))
    options = parser.parse_args()
    broken = [name for name in TARGETS if options.target in {None, name} and not _holds(name, options.minutes * 60)]
    return int(bool(broken))


def _holds(name: str, seconds: float) -> bool:
    until, count = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        try:
            examples(TARGETS[name], count=_ROUND, repeats_itself=False)
        except Exception:  # noqa: BLE001 - whatever it is, it is the find
            traceback.print_exc()
            print(f"{name}: broken after about {count} examples", flush=True)
            return False
        count += _ROUND
    print(f"{name}: {count} examples in {seconds / 60:g} minutes, nothing but refusals", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
