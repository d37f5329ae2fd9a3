"""A generate.py whose environment lacks a package that requirements.txt does not name."""

import sys

sys.modules["decord"] = None  # type: ignore[assignment]  # as if it were not installed
raise ModuleNotFoundError("No module named 'decord'", name="decord")
