"""Run a program, read its output live, and leave no process behind."""

from wanworker.process._ask import Answer, ask
from wanworker.process._program import Exit, OnLine, run
from wanworker.process._start import started, to_the_end

__all__ = ["Answer", "Exit", "OnLine", "ask", "run", "started", "to_the_end"]
