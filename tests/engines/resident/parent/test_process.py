"""The process of a child: what it leaves when it ends by itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

from wanworker.engines.resident.parent._process import ChildProcess, Died


def is_gone(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    return True


async def test_what_a_child_has_started_ends_with_it_and_not_when_somebody_asks_for_it_later(tmp_path: Path) -> None:
    """Hours later, the number of its group may be that of other processes."""
    script = f"sleep 600 & echo $! > {tmp_path / 'left'}; exit 3"
    link = await ChildProcess.start(("sh", "-c", script), dict(os.environ))
    died = await link.event()
    left = int((tmp_path / "left").read_text())
    try:
        async with asyncio.timeout(10):
            while not is_gone(left):
                await asyncio.sleep(0.01)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(left, signal.SIGKILL)
    await link.end(grace_s=1)

    assert isinstance(died, Died)
    assert died.returncode == 3
