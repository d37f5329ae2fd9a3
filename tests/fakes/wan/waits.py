"""A generate.py that renders, but stays in its second step, with a file WAN_HOME/waiting, until there is a file go."""

import sys
import time
from pathlib import Path

from upstream import finish, load, sample, save, start

LONGEST_S = 60


def wait(step: int) -> None:
    """Return at once but in the second step; fail when nobody lets it go on."""
    if step == 2:
        Path("waiting").touch()
    until = time.monotonic() + LONGEST_S
    while step == 2 and not Path("go").exists():
        if time.monotonic() > until:
            sys.exit(f"no file {Path('go').resolve()} in {LONGEST_S} s")
        time.sleep(0.02)


args = start()
load(args)
save(args, sample(args, wait))
finish()
