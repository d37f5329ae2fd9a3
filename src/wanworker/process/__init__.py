"""Run a program, read it live, leave nothing behind."""

from wanworker.process._program import Exit, OnLine, run

__all__ = ["Exit", "OnLine", "run"]
