"""`python handler.py` as people try it first: from any folder, with a job from a file, the command line or HTTP."""

from __future__ import annotations

import ast
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from fakes.gate import Gate
from fakes.worker_process import HANDLER, worker_environment

HEALTH = {"input": {"health": True}}


def run_handler(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run handler.py in *folder* to its end."""
    return subprocess.run(
        [sys.executable, str(HANDLER), *arguments],
        cwd=folder,
        env=worker_environment(folder, {"WAN_ENGINE": "mini", **environment}),
        capture_output=True,
        text=True,
        timeout=60,
    )


def result_in(stdout: str) -> dict[str, Any]:
    """Return the answer from the SDK's line, which is Python's repr."""
    line = next(line for line in stdout.splitlines() if "Job result: " in line)
    result: dict[str, Any] = ast.literal_eval(line.partition("Job result: ")[2])
    return result


def test_a_job_on_the_command_line_is_answered(tmp_path: Path) -> None:
    done = run_handler(tmp_path, "--test_input", json.dumps(HEALTH))

    assert done.returncode == 0, done.stdout + done.stderr
    assert result_in(done.stdout)["output"]["ok"] is True
    assert "DEBUG" not in done.stdout  # the SDK's own default, which would log every answer


def test_test_input_json_of_the_current_folder_is_the_job(tmp_path: Path) -> None:
    (tmp_path / "test_input.json").write_text(json.dumps(HEALTH))

    done = run_handler(tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "comfyui_status" in result_in(done.stdout)["output"]


def test_a_job_that_fails_says_why_and_ends_with_1(tmp_path: Path) -> None:
    done = run_handler(tmp_path, "--test_input", '{"input": {"action": "dance"}}')

    assert done.returncode == 1
    assert "failed with error: Unknown action 'dance'; known: " in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_a_bad_setting_stops_the_worker_with_one_line(tmp_path: Path) -> None:
    done = run_handler(tmp_path, "--test_input", json.dumps(HEALTH), JOB_TIMEOUT_S="soon")

    (line,) = done.stderr.splitlines()
    assert done.returncode == 2
    assert line.startswith("The worker will not start: JOB_TIMEOUT_S: ")
    assert done.stdout == ""


def test_our_own_test_input_is_a_job_that_asks_for_no_base64() -> None:
    job = json.loads((HANDLER.parent / "test_input.json").read_text())

    assert job["input"]["action"] == "generate"
    assert job["input"]["return_video"] is False


def test_the_users_own_log_level_stands(tmp_path: Path) -> None:
    done = run_handler(tmp_path, "--test_input", json.dumps(HEALTH), RUNPOD_LOG_LEVEL="ERROR")

    assert done.returncode == 0
    assert "INFO" not in done.stdout


def test_importing_the_handler_starts_nothing_and_loads_nothing_heavy(tmp_path: Path) -> None:
    code = "import sys, json, handler; print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    environment = worker_environment(tmp_path, {"PYTHONPATH": str(HANDLER.parent)})
    argv = [sys.executable, "-c", code]

    done = subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)

    heavy = {"torch", "diffusers", "transformers", "PIL", "numpy", "boto3", "botocore", "imageio_ffmpeg"}
    assert heavy & set(json.loads(done.stdout)) == set()
    assert list(tmp_path.iterdir()) == []


@contextlib.contextmanager
def served(folder: Path) -> Iterator[int]:
    """Run handler.py with --rp_serve_api and give the port that it listens on; Ctrl-C ends it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    argv = [sys.executable, str(HANDLER), "--rp_serve_api", "--rp_api_host", "127.0.0.1", "--rp_api_port", str(port)]
    environment = worker_environment(folder, {"WAN_ENGINE": "mini"})
    with subprocess.Popen(
        argv, cwd=folder, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stderr is not None
        try:
            said = []
            for line in server.stderr:
                said.append(line)
                if "Uvicorn running" in line:
                    break
            else:
                pytest.fail("".join(said))
            yield port
        finally:
            os.kill(server.pid, signal.SIGINT)
            server.communicate(timeout=60)


def post(port: int, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Post one job to the SDK's local API."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    return answer


def test_the_sdks_local_api_serves_jobs(tmp_path: Path) -> None:
    with served(tmp_path) as port:
        health = post(port, "/runsync", HEALTH)
        failure = post(port, "/runsync", {"input": {"action": "dance"}})

    assert (health["status"], health["output"]["ok"]) == ("COMPLETED", True)
    assert failure["status"] == "FAILED"
    assert failure["error"].startswith("Unknown action 'dance'; known: ")


@pytest.mark.slow
def test_ctrl_c_stops_the_render_and_leaves_no_process(tmp_path: Path) -> None:
    render = {"task": "t2v-A14B", "prompt": "a red star", "request_id": "mine"}
    argv = [sys.executable, str(HANDLER), "--test_input", json.dumps({"input": render})]
    gate = Gate(tmp_path / "gate")
    environment = worker_environment(tmp_path, {"WAN_ENGINE": "mini", **gate.environment})
    with subprocess.Popen(
        argv, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as handler:
        assert handler.stderr is not None
        started = next(line for line in handler.stderr if "render process" in line)
        child = int(started.partition("render process ")[2].split()[0])
        gate.wait_for_a_job(handler)
        os.kill(handler.pid, signal.SIGINT)
        handler.communicate(timeout=60)
        code = handler.returncode
    status = run_handler(tmp_path, "--test_input", '{"input": {"request_id": "mine"}}')

    assert code == 130
    assert result_in(status.stdout)["output"]["status"]["status"] == "CANCELLED"
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
