"""A generate.py that finds no space left while it saves, says so as upstream does, and ends with 1."""

import errno
import os

from upstream import load, log, sample, start

args = start()
load(args)
sample(args)
log.info("Saving generated video to %s", args.save_file)
raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), args.save_file)
