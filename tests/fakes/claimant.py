"""Claim jobs in a process of its own: `claimant.py ROOT ID...`; waits for a line, tells what it got, then lives on."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from wanworker.jobs.store.job_store import JobRequest, JobStore


def main() -> None:
    root, *ids = sys.argv[1:]
    store = JobStore(Path(root))
    print("ready", flush=True)
    sys.stdin.readline()
    claims = [store.claim(JobRequest(any_id, "generate", "spec-a")) for any_id in ids]
    print(json.dumps([(claim.job.attempt, claim.is_ours) for claim in claims]), flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    main()
