"""A ComfyUI server for a walk: one that the worker starts itself, or a remote one that only this harness can end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fakes.gate import put_whole
from fakes.ports import held_port
from fakes.stopped import stop
from faults.doors import until

_MAIN = Path(__file__).resolve().parents[1] / "fakes" / "comfyui_main.py"


class ComfyUIServer:
    """
    A checkout whose main.py is the fake. *knobs* make every start of it misbehave until `heal`.

    `environment` leads a door's worker to it: as a server to start (COMFYUI_ROOT), or, if it *is_remote*, as one that
    runs already (COMFYUI_URL).
    """

    def __init__(self, folder: Path, knobs: Mapping[str, Any], *, is_remote: bool) -> None:
        self._root = folder / "ComfyUI"
        self._root.mkdir()
        (self._root / "main.py").symlink_to(_MAIN)
        (self._root / "knobs.json").write_text(json.dumps(knobs))
        self._port = held_port()
        self._is_remote = is_remote
        self._process: subprocess.Popen[bytes] | None = None
        if is_remote:
            self._start()

    @property
    def environment(self) -> dict[str, str]:
        """What the door needs in its environment."""
        if self._is_remote:
            return {"WAN_ENGINE": "mini", "COMFYUI_URL": f"http://127.0.0.1:{self._port}"}
        own = {"COMFYUI_ROOT": str(self._root), "COMFYUI_PYTHON": sys.executable, "COMFYUI_PORT": str(self._port)}
        return {"WAN_ENGINE": "mini", **own}

    @property
    def is_held(self) -> bool:
        """Say whether a node stands still."""
        return (self._root / "held").exists()

    def die(self) -> None:
        """End with a C++ error in mid-run, as a broken CUDA context does."""
        (self._root / "held").unlink(missing_ok=True)
        put_whole(self._root / "die", "134")
        until(lambda: not (self._root / "die").exists(), "the ComfyUI server to die")

    def freeze(self) -> None:
        """Stop the process, which keeps its sockets open."""
        stop(int((self._root / "pids").read_text().split()[-1]))

    def heal(self) -> None:
        """Let each later start be a healthy one; a remote server is restarted by whoever runs it, now."""
        (self._root / "knobs.json").write_text("{}")
        if self._is_remote:
            self.close()
            self._start()

    def close(self) -> None:
        """End a remote server."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _start(self) -> None:
        with (self._root / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "main.py", "--port", str(self._port), "--cpu"],
                cwd=self._root, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        until(self._listens, "the remote ComfyUI server to listen")

    def _listens(self) -> bool:
        with socket.socket() as probing:
            return probing.connect_ex(("127.0.0.1", self._port)) == 0
