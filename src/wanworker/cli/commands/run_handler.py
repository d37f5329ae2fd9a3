"""
Run handler.py on one job, and show its progress and its files. scripts/run starts this module.

python -m wanworker.cli.commands.run_handler outputs handler.py test_input.json ["a prompt instead of its own"]

In RunPod's local mode the SDK posts no progress and prints Python, so everything shown here is from the job's record.
"""

from __future__ import annotations

import functools
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wanworker.cli._base import EXIT_FAILED, EXIT_STOPPED
from wanworker.cli.terminal.console import complain, say, video_facts
from wanworker.cli.terminal.files import new_request_id
from wanworker.cli.terminal.live_progress import LiveProgress
from wanworker.cli.terminal.signals import exiting_on_signals

if TYPE_CHECKING:
    from wanworker.jobs.model import Job

_LOOK_S = 0.2

#: How long a handler that was told to stop may take to stop its own children.
_STOP_S = 30.0

#: Log lines that say why the worker failed: those of serverless.handler, of handler.py and of the SDK.
_FAILURES = (
    re.compile(r"The job failed: (?P<code>[A-Z_]+) (?P<text>.+)"),
    re.compile(r"The worker will not start: (?P<text>.+)"),
    re.compile(r"failed with error: (?P<text>.+)"),
)


def main(argv: list[str]) -> int:
    """Render, show the result, and return the exit code: 0 for a video, 1 for a failure, 130 after Ctrl-C."""
    out_dir, handler, test_input = map(Path, argv[:3])
    request_id = new_request_id("run")
    job = with_fields(json.loads(test_input.read_text(encoding="utf-8")), request_id, *argv[3:])
    out_dir.mkdir(parents=True, exist_ok=True)
    log_path = out_dir / f"{request_id}.log"
    command = [sys.executable, str(handler), "--test_input", json.dumps(job)]
    try:
        with exiting_on_signals(), _started(command, log_path) as process:
            # While the handler loads, load the code that reads its record.
            find = _finder(out_dir, request_id)
            _watch(process, find)
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return EXIT_STOPPED
    finished = find()
    if process.returncode == 0 and finished is not None and finished.outputs:
        return _show_result(finished, log_path)
    return _show_failure(finished, log_path)


def with_fields(job: Mapping[str, Any], request_id: str, prompt: str | None = None) -> dict[str, Any]:
    """Return *job* with *request_id*, by which its record is found, and with *prompt* if there is one. Pure."""
    fields = {**job["input"], "request_id": request_id}
    return {**job, "input": fields if prompt is None else {**fields, "prompt": prompt}}


def why(log: str) -> tuple[str | None, str]:
    """Return the code (if there is one) and the text of the failure at the end of a handler's *log*. Pure."""
    for pattern in _FAILURES:
        if found := list(pattern.finditer(log)):
            return found[-1].groupdict().get("code"), found[-1]["text"].strip()
    lines = [line for line in log.splitlines() if line.strip()]
    return None, lines[-1] if lines else "handler.py ended without a message."


@contextmanager
def _started(argv: list[str], log_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run *argv* in its own process group, with its output in *log_path*. It has ended when the body ends."""
    with log_path.open("wb") as log:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0)
    try:
        yield process
    finally:
        if process.poll() is None:
            # On SIGTERM the worker stops its engine and then ends. SIGINT would not do: a background job may have
            # inherited that it is ignored.
            process.terminate()
            try:
                process.wait(_STOP_S)
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                process.kill()
                process.wait()


def _finder(out_dir: Path, request_id: str) -> Callable[[], Job | None]:
    from wanworker.errors import WorkerError
    from wanworker.jobs.output_paths import remove_half_made
    from wanworker.jobs.store.job_store import JobStore

    store = JobStore(out_dir / "jobs", at_death=functools.partial(remove_half_made, out_dir))

    def find() -> Job | None:
        try:
            return store.find(request_id)
        except WorkerError:
            return None

    return find


def _watch(process: subprocess.Popen[bytes], find: Callable[[], Job | None]) -> None:
    with LiveProgress(sys.stderr) as live:
        while process.poll() is None:
            if job := find():
                live.show(job.progress)
            time.sleep(_LOOK_S)


def _show_result(job: Job, log_path: Path) -> int:
    import asyncio

    from wanworker.media.video.contact_sheet import contact_sheet

    output = job.outputs[0]
    video = Path(output.path)
    sheet = asyncio.run(contact_sheet(video, video.with_suffix(".png")))
    for line in job.warnings:
        say("note", line)
    say("video", f"{video}  ({video_facts(output.width, output.height, output.frames, output.fps)}, {job.model})")
    say("contact sheet", str(sheet))
    say("log", str(log_path))
    return 0


def _show_failure(job: Job | None, log_path: Path) -> int:
    """Print the failure from the record. A request that was refused at once has no record, only a log line."""
    hint: str | None
    if job is not None and job.error is not None:
        text, hint = job.error.text, job.error.hint
    else:
        code, text = why(log_path.read_text(encoding="utf-8", errors="replace"))
        hint = _hint_of(code)
    complain("failed", text)
    if hint:
        complain("hint", hint)
    complain("log", str(log_path))
    return EXIT_FAILED


def _hint_of(code: str | None) -> str | None:
    """Return the hint that belongs to *code* in errors.py."""
    from wanworker.errors import WorkerError

    kinds = [WorkerError]
    for kind in kinds:
        if kind.code == code:
            return kind.default_hint
        kinds += kind.__subclasses__()
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
