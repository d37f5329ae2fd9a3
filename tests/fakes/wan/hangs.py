"""A generate.py that hangs in a step, ignores SIGTERM, and has a child in a session of its own, as torchrun has."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from upstream import load, sample, start

CHILD = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"


def hang(step: int) -> None:
    """Leave half a video, name both processes in WAN_HOME/pids, and wait for ever."""
    if step < 1:
        return
    child = subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, start_new_session=True)
    assert child.stdout is not None
    child.stdout.readline()
    Path(args.save_file).write_bytes(b"\0\0\0\x20ftypisom")
    Path("pids.part").write_text(f"{os.getpid()} {child.pid}")
    Path("pids.part").rename("pids")
    sys.stdout.write("[now] INFO: hanging\n")
    time.sleep(600)


signal.signal(signal.SIGTERM, signal.SIG_IGN)
args = start()
load(args)
sample(args, hang)
