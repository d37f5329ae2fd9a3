"""
The processes of comfyui.py: `ours` is handler.py itself, `bare BYTES` a handler that returns a text of that many bytes
(0: an empty answer), `theirs FOLDER HOST:PORT` the handler of a checkout of worker-comfyui, and
`server FOLDER VIDEO SECONDS` the fake ComfyUI, whose runs take SECONDS and save VIDEO.

The two workers note the system's monotonic clock before and after each call of the handler, in the file `calls`.
"""

from __future__ import annotations

import asyncio
import runpy
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

Handler = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


def ours() -> None:
    """Run handler.py as it is; only what it hands to the SDK is timed. The SDK is imported as handler.py does it."""
    from wanworker.serverless.deferred import light_sdk

    with light_sdk():
        import runpod

    start = runpod.serverless.start
    runpod.serverless.start = lambda config: start({**config, "handler": _timed(config["handler"])})
    runpy.run_path(str(ROOT / "handler.py"), run_name="__main__")


def bare(size: str) -> None:
    """Be the least handler: what the SDK itself costs, with an answer of *size* bytes."""
    import runpod

    async def answer(job: dict[str, Any]) -> dict[str, Any]:
        del job
        return {"data": "A" * int(size)}

    runpod.serverless.start({"handler": _timed(answer)})


def theirs(folder: str, place: str) -> None:
    """Run the handler of the worker-comfyui in *folder*, which has the server's place as a constant."""
    import importlib

    import runpod

    sys.path[:0] = [folder, str(Path(folder) / "src")]
    # Its module is called like ours, which lies beside this process' own folder.
    module: Any = importlib.import_module("handler")
    module.COMFY_HOST = place

    def timed(job: dict[str, Any]) -> Any:
        began = time.monotonic()
        answer = module.handler(job)
        _note(f"{job['id']} {began} {time.monotonic()}")
        return answer

    runpod.serverless.start({"handler": timed})


def server(folder: str, video: str, seconds: str) -> None:
    """Serve until killed; the port goes to standard output. The run's time passes in its first node."""
    from fakes.comfyui import FakeComfyUI

    async def serve() -> None:
        async with FakeComfyUI(Path(folder)) as fake:
            fake.nodes.media = {".mp4": Path(video).read_bytes()}
            run = fake.nodes.run

            async def slow(node: str, class_type: str, inputs: Any, stage: Any) -> Any:
                if class_type in {"EmptyImage", "LoadImage"}:
                    await asyncio.sleep(float(seconds))
                return await run(node, class_type, inputs, stage)

            fake.nodes.run = slow  # type: ignore[method-assign]
            print(fake.port, flush=True)
            await asyncio.Event().wait()

    asyncio.run(serve())


def _timed(handler: Handler) -> Handler:
    async def timed(job: dict[str, Any]) -> dict[str, Any]:
        began = time.monotonic()
        answer = await handler(job)
        _note(f"{job['id']} {began} {time.monotonic()}")
        return answer

    return timed


def _note(line: str) -> None:
    with Path("calls").open("a") as file:
        file.write(f"{line}\n")


if __name__ == "__main__":
    {"ours": ours, "bare": bare, "theirs": theirs, "server": server}[sys.argv[1]](*sys.argv[2:])
