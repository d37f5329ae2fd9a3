"""A generate.py that fails while sampling, with a traceback."""

import sys

from upstream import load, sample, start


def fail(step: int) -> None:
    """Fail at the second step as upstream does for a frame number that is no 4n+1."""
    if step == 2:
        sys.stderr.write("\n")
        raise RuntimeError("shape '[1, 5, 4, 60, 104]' is invalid for input of size 118560")


args = start()
load(args)
sample(args, fail)
