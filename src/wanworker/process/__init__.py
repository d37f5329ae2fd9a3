"""Run a program, read it live, leave nothing behind."""

from wanworker.process._program import Exit, OnLine, run
from wanworker.process._start import started, to_the_end

__all__ = ["Exit", "OnLine", "run", "started", "to_the_end"]
