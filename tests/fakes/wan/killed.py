"""A generate.py that the kernel kills for its memory while it loads."""

import os
import signal
import sys

from upstream import load, start

load(start())
sys.stdout.flush()
os.kill(os.getpid(), signal.SIGKILL)
