"""
Stands in for handler.py: takes --test_input as the SDK does, keeps a real record, and ends as the prompt says.

renders, fails (with a record), refused (without one), will not start, dies, hangs (until SIGTERM).
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from wanworker.jobs.model import Job, JobError, JobStatus, Output
from wanworker.jobs.store.job_store import JobRequest, JobStore
from wanworker.media.video.writer import VideoWriter
from wanworker.progress import Progress

OUT_DIR = Path(os.environ["WAN_OUT_DIR"])
STORE = JobStore(OUT_DIR / "jobs")


def main(fields: dict[str, Any]) -> int:
    prompt, request_id = fields["prompt"], fields["request_id"]
    (OUT_DIR / "fields.json").write_text(json.dumps(fields))
    if prompt == "refused":
        where = "2026-01-01 00:00:00 WARNING x wanworker.serverless.handler"
        print(f"{where}: The job failed: INVALID_REQUEST no such size.")
        print("ERROR  | local_test | Job local_test failed with error: no such size.")
        return 1
    if prompt == "will not start":
        print("ERROR - wanworker: The worker will not start: COMFYUI_PORT: not a number")
        return 2
    if prompt == "dies":
        print("Traceback (most recent call last):\nImportError: no module named runpod\n")
        return 1
    return with_record(prompt, STORE.claim(JobRequest(request_id, "generate", "hash")).job)


def with_record(prompt: str, job: Job) -> int:
    STORE.heartbeat(job, Progress("sampling", 0.4, 2, 5).to_json())
    if prompt == "fails":
        STORE.update(job, status=JobStatus.ERROR, error=JobError("OUT_OF_MEMORY", "The GPU is full.", "Ask for less."))
        return 1
    if prompt == "hangs":
        signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(143))
        try:
            (OUT_DIR / "hangs").touch()
            time.sleep(60)
        except SystemExit:
            STORE.update(job, status=JobStatus.CANCELLED)
            raise
    path = OUT_DIR / f"{job.request_id}.mp4"
    with VideoWriter(path, 64, 48, 8.0) as video:
        for _ in range(5):
            video.write(bytes(64 * 48 * 3))
    output = Output(str(path), "video", "video/mp4", path.stat().st_size, "", 64, 48, 8.0, 5, 0.625, "h264")
    changes = {"outputs": (output,), "model": "mini-wan", "warnings": ("frame_num 4 was changed to 5.",)}
    STORE.update(job, status=JobStatus.COMPLETED, **changes)  # type: ignore[arg-type]
    return 0


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[sys.argv.index("--test_input") + 1])["input"]))
