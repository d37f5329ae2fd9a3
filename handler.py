"""The RunPod door: read the settings, build the worker, and let the SDK hand it jobs."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))  # a fresh clone runs without being installed
from wanworker.serverless.deferred import SDK_SWITCHES, light_sdk

for name, value in SDK_SWITCHES.items():
    os.environ.setdefault(name, value)
with light_sdk():
    import runpod

from wanworker import logs
from wanworker.actions.base import Call
from wanworker.app import Worker
from wanworker.serverless.fitness import fitness_check
from wanworker.serverless.handler import JobHandler
from wanworker.serverless.sdk import patch_sdk
from wanworker.settings import BadSettings, Settings, in_runpod_worker, load_settings


def serve(worker: Worker, settings: Settings) -> None:
    """Let the SDK hand *worker* its jobs: RunPod's, or one from the command line or test_input.json."""
    runpod.serverless.register_fitness_check(fitness_check(settings, worker.facts.note_kernel))
    send, limit = runpod.serverless.progress_update, settings.max_answer_bytes
    door = JobHandler(worker, Call, send=send, in_worker=in_runpod_worker(), max_answer_bytes=limit)
    patch_sdk(runpod.serverless.modules)
    runpod.serverless.start({"handler": door, "concurrency_modifier": door.begin})


if __name__ == "__main__":
    logs.set_up()
    try:
        settings = load_settings()
    except BadSettings as error:
        sys.stderr.write(f"The worker will not start: {error}\n")
        sys.exit(2)
    serve(Worker.from_settings(settings, sends_on=not in_runpod_worker()), settings)
