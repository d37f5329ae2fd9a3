"""
The document's two examples, by the same calls in the same order, on a machine without a GPU: a playable video each.

They run as programs of their own against `python -m wanworker.rest`, with nothing set but where it listens.
"""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from fakes.ports import held_port
from wanworker.media.video.writer import decode_check
from wanworker.settings import child_environment

#: requests, as in the document: post, ask every so often with .get("progress", 0), save the content.
PYTHON = """
import sys, time, requests
api = sys.argv[1]
reply = requests.post(f"{api}/generate", json={"prompt": "A cat playing with yarn", "steps": 8, "fps": 24})
job_id = reply.json()["job_id"]
while True:
    status = requests.get(f"{api}/status/{job_id}").json()
    print(status["status"], status.get("progress", 0), flush=True)
    if status["status"] == "completed":
        if status.get("video_ready"):
            video = requests.get(f"{api}/download/{job_id}")
            open("video.mp4", "wb").write(video.content)
        break
    if status["status"] == "error":
        sys.exit(status.get("error"))
    time.sleep(1)
"""

GENERATE = """curl -sS -X POST "$API/generate" -H "Content-Type: application/json" -d '{
    "prompt": "A sunset over mountains", "steps": 8, "fps": 24
  }'"""
STATUS = 'curl -sS "$API/status/$JOB_ID"'
DOWNLOAD = 'curl -sS -o video.mp4 "$API/download/$JOB_ID"'


@pytest.fixture
def api(tmp_path):
    port = held_port()
    own = {"WAN_OUT_DIR": str(tmp_path / "outputs"), "REST_PORT": str(port), "OMP_NUM_THREADS": "1"}
    log = (tmp_path / "log").open("wb")
    argv = [sys.executable, "-m", "wanworker.rest"]
    with log, subprocess.Popen(argv, env={**child_environment(), **own}, cwd=tmp_path, stderr=log) as process:
        url = f"http://localhost:{port}"
        give_up = time.monotonic() + 30
        while not _answers(url):
            assert process.poll() is None
            assert time.monotonic() < give_up
        yield url
        process.terminate()


def _answers(url):
    try:
        return requests.get(f"{url}/ping", timeout=5).ok
    except requests.ConnectionError:
        return False


def _facts(path):
    facts = asyncio.run(decode_check(path))
    return facts.width, facts.height, facts.frames, facts.fps


@pytest.mark.slow
def test_the_python_example_ends_with_a_playable_video_within_a_minute(api, tmp_path):
    argv = [sys.executable, "-c", PYTHON, api]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    percents = [float(line.split()[1]) for line in done.stdout.splitlines()]

    assert 0 == done.returncode, done.stderr
    assert sorted(percents) == percents
    assert 100 == percents[-1]
    assert (1280, 704, 121, 24.0) == _facts(tmp_path / "video.mp4")


@pytest.mark.slow
def test_the_curl_example_ends_with_a_playable_video_within_a_minute(api, tmp_path):
    def shell(command, job_id=""):
        environment = {**os.environ, "API": api, "JOB_ID": job_id}
        argv = ["bash", "-c", command]
        return subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout

    give_up = time.monotonic() + 60
    job_id = shell(GENERATE).partition('"job_id":"')[2].partition('"')[0]
    while '"status":"completed"' not in shell(STATUS, job_id):
        assert time.monotonic() < give_up
    shell(DOWNLOAD, job_id)

    assert (1280, 704, 121, 24.0) == _facts(Path(tmp_path / "video.mp4"))
