"""
ComfyUI's main.py as a process: its flags, the lines that it prints, its routes (fakes.comfyui), its ways to fail.

Link it as main.py into a folder and put a knobs.json beside it to make it misbehave:
`delay_s` before it listens, or `waits` until there is a file `go`, with a line each tenth of a second unless `silent`;
`holds`, the classes of nodes at which a run stays; `stuck` and `exits`, those that never return, and that end its
worker thread, with a file `held` once one has; `deaf`, to hold the port meanwhile and answer nothing;
`fails` at once: "module" (one is missing), "crash" (a segmentation fault), "exit"; `hangs` without listening;
`ignores_sigterm`; `leaves_a_child` that outlives it if nobody ends it. While it serves, a file named `die` ends it
with the exit code inside, and the words behind that as its last ones; the process id of each start is a line in `pids`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path.cwd()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="main.py")
    parser.add_argument("--listen", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8188)
    parser.add_argument("--disable-auto-launch", action="store_true")
    parser.add_argument("--extra-model-paths-config", nargs="+", action="append", default=[])
    for name in ("output", "input", "temp"):
        parser.add_argument(f"--{name}-directory", type=Path)
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--preview-method", choices=["none", "auto", "latent2rgb", "taesd"], default="none")
    if (HERE / "comfy" / "cli_args.py").exists():
        parser.add_argument("--database-url")
    parser.add_argument("--lowvram", action="store_true")
    parser.add_argument("--disable-metadata", action="store_true")
    return parser.parse_args()


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _load_model_paths(files: list[list[str]]) -> None:
    """Read the files as the real one does: with PyYAML, every value cut at its line ends."""
    import yaml

    for file in (name for group in files for name in group):
        for section in yaml.safe_load(Path(file).read_text(encoding="utf-8")).values():
            for name, value in section.items():
                for path in value.split("\n"):
                    _say(f"Adding extra search path {name} {path}")


def _fail(how: str) -> None:
    if how == "module":
        import torchsde_that_is_not_there  # type: ignore[import-not-found]  # noqa: F401
    if how == "crash":
        _say("Fatal Python error: Segmentation fault")
        os.kill(os.getpid(), signal.SIGSEGV)
    _say("CUDA driver version is insufficient for CUDA runtime version")
    sys.exit(1)


def _import_the_slow_parts() -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    import fakes.comfyui  # noqa: F401 - here, as torch in the real one: what follows is told from time to time


def _wait(knobs: dict[str, Any], port: int) -> None:
    taken = socket.create_server(("127.0.0.1", port)) if knobs.get("deaf") else None
    until = time.monotonic() + knobs.get("delay_s", 0)
    while knobs.get("hangs") or time.monotonic() < until or (knobs.get("waits") and not (HERE / "go").exists()):
        time.sleep(0.1)
        if not knobs.get("silent"):
            _say("Import of a custom node")
    if taken:
        taken.close()


def _note_pid(pid: int) -> None:
    with (HERE / "pids").open("a") as file:
        file.write(f"{pid}\n")


def _leave_a_child() -> None:
    _note_pid(subprocess.Popen(["sleep", "600"]).pid)


async def _serve(args: argparse.Namespace, knobs: dict[str, Any]) -> None:
    from fakes.comfyui import FakeComfyUI

    async with FakeComfyUI(HERE / "data", port=args.port) as server:
        server.nodes.holds = frozenset(knobs.get("holds", ()))
        server.nodes.hangs, server.nodes.exits = frozenset(knobs.get("stuck", ())), frozenset(knobs.get("exits", ()))
        _say("Starting server\n")
        _say(f"To see the GUI go to: {server.url}")
        if knobs.get("leaves_a_child"):
            _leave_a_child()
        die = HERE / "die"
        while not die.exists():
            if server.nodes.held.is_set():
                (HERE / "held").touch()
            await asyncio.sleep(0.02)
    code, _, words = die.read_text().partition(" ")
    die.unlink()
    _say(words or "terminate called after throwing an instance of 'c10::Error'")
    os._exit(int(code))


def main() -> None:
    args = _arguments()
    knobs = json.loads((HERE / "knobs.json").read_text()) if (HERE / "knobs.json").exists() else {}
    if knobs.get("ignores_sigterm"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (HERE / "argv.json").write_text(json.dumps(sys.argv[1:]))
    (HERE / "environ.json").write_text(json.dumps(dict(os.environ)))
    _note_pid(os.getpid())
    _load_model_paths(args.extra_model_paths_config)
    _say("Total VRAM 24106 MB, total RAM 24106 MB")
    _say("Device: cpu" if args.cpu else "Device: cuda:0 NVIDIA L40S : cudaMallocAsync")
    if "fails" in knobs:
        _fail(knobs["fails"])
    _import_the_slow_parts()
    _say("ComfyUI version: 0.10.0")
    _wait(knobs, args.port)
    asyncio.run(_serve(args, knobs))


if __name__ == "__main__":
    main()
