"""`PYTHONPATH=src:tests python tests/print_messages.py`: print every message that a wrong request can get."""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
from pathlib import Path

from messages import everything, page, settings_below

if __name__ == "__main__":
    logging.disable()
    with tempfile.TemporaryDirectory() as folder:
        sys.stdout.write(page(asyncio.run(everything(settings_below(Path(folder))))) + "\n")
