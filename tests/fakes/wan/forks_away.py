"""A generate.py that renders, and leaves a process in a session and an environment of its own, whose parent is gone."""

import subprocess
import sys

from upstream import finish, load, sample, save, start

AWAY = "import os, time; os.setsid(); time.sleep(600)"
BETWEEN = (
    "import subprocess, sys;"
    f"subprocess.Popen([sys.executable, '-c', {AWAY!r}], env={{}}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)"
)

args = start()
load(args)
frames = sample(args)
subprocess.run([sys.executable, "-c", BETWEEN], check=True)
save(args, frames)
finish()
