"""
A resident child without torch: it speaks the protocol by the real child's own threads, and misbehaves on request.

`python resident_child.py MODE`: what the process does. The prompt of a job says what that job does.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from wanworker.engines.resident.child.__main__ import Inbox, Outbox
from wanworker.engines.resident.protocol import Done, Failed, Load, Pong, Ready, Render, Stage, Step, Stopped

OUTBOX = Outbox(sys.stdout.buffer)
INBOX = Inbox(sys.stdin.buffer, at_ping=lambda: OUTBOX.send(Pong()), at_end=lambda: os._exit(0))
send = OUTBOX.send


def wait_for_stop(job: int) -> None:
    """Return when the parent says stop."""
    while not INBOX.must_stop(job):
        time.sleep(0.01)


def load(mode: str, folder: str, *, is_change: bool) -> None:
    """Answer a load."""
    if mode == "cannot_load":
        send(Failed(0, "OUT_OF_MEMORY", "CUDA out of memory.", usable=False))
        os._exit(1)
    if folder == "/models/large" and is_change:
        send(Failed(0, "OUT_OF_MEMORY", "CUDA out of memory.", usable=False))
        return
    if folder == "/models/broken":
        send(Failed(0, "MODEL_NOT_FOUND", "no model_index.json", usable=False))
        return
    if mode == "loads_for_ever":
        signal.pause()
    if mode == "hangs_once" and not (Path(folder) / "hung").exists():
        (Path(folder) / "hung").touch()
        signal.pause()
    while mode == "loads_slowly" and not (Path(folder) / "go").exists():
        time.sleep(0.01)
    send(Ready())


def hand_over(prompt: str, out_path: Path) -> None:
    """Write what is no video, or, for `copy FILE`, that one."""
    if prompt.startswith("copy "):
        shutil.copyfile(prompt.removeprefix("copy "), out_path)
    else:
        out_path.write_text("video")


def render(job: Render) -> None:
    """Do what the prompt says."""
    out_path = Path(job.out_path)
    send(Stage(job.job, "sampling"))
    send(Step(job.job, "sampling", 1, job.steps))
    if job.prompt.startswith(("succeed", "copy ")):
        hand_over(job.prompt, out_path)
        send(Done(job.job, {"denoise_s": 1.5}, ("a warning",)))
    elif job.prompt == "fall back":
        out_path.write_text("video")
        send(Done(job.job, {}, (), job.fallback))
    elif job.prompt == "stop at once":
        wait_for_stop(job.job)
        send(Stopped(job.job))
    elif job.prompt == "stop late":
        wait_for_stop(job.job)
        while not out_path.with_name("go").exists():
            time.sleep(0.01)
        send(Stopped(job.job))
    elif job.prompt == "finish all the same":
        wait_for_stop(job.job)
        out_path.write_text("video")
        send(Done(job.job, {}))
    elif job.prompt == "never stop":
        out_path.with_name(f"{out_path.name}.part").write_text("half a video")
        wait_for_stop(job.job)
        signal.pause()
    elif job.prompt in {"run out of memory", "run out of memory for good"}:
        send(Failed(job.job, "OUT_OF_MEMORY", "CUDA out of memory.", usable=job.prompt == "run out of memory"))
    else:
        die(job.prompt)


def die(prompt: str) -> None:
    """End as the prompt says: `exit CODE`, `signal NUMBER`, or `leave behind FILE`, which gets a process's number."""
    how, _, what = prompt.rpartition(" ")
    if how == "exit":
        print("the last words", file=sys.stderr, flush=True)
        os._exit(int(what))
    elif how == "leave behind":
        left = subprocess.Popen(["sleep", "600"], start_new_session=True)
        Path(what).write_text(str(left.pid))
        os._exit(3)
    elif how == "signal":
        os.kill(os.getpid(), int(what))


def main() -> None:
    """Serve as the real child does."""
    mode = sys.argv[1]
    if mode == "exits_at_start":
        print("no module named torch", file=sys.stderr, flush=True)
        os._exit(3)  # a plain exit would wait for the thread that reads
    if mode == "prints":
        print("Loading pipeline components...: 100%\r" * 3)
        print('{"type": "stage"}')
        print("x" * 3_000_000)
        print("\n".join("[" * 100_000 for _ in range(100)), flush=True)
    holds_a_model = False
    for command in INBOX:
        if isinstance(command, Load):
            load(mode, command.model.folder, is_change=holds_a_model)
            holds_a_model = True
        else:
            render(command)


if __name__ == "__main__":
    main()
