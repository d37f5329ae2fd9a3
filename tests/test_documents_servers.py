"""
The calls on README.md, usage.md, api.md, deploy.md and models.md, against programs on loopback.

Only addresses and keys are replaced, and pip, ruff, mypy and pytest do nothing. Everything renders with the miniature.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

import pages
from fakes.ports import held_port
from fakes.recordings import sound
from fakes.rest_server import serving
from fakes.worker_process import worker_environment
from pages import ROOT
from wanworker.media.video.mp4 import VideoFacts
from wanworker.media.video.writer import decode_check

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")

#: Python as a fresh clone finds it: the tests' own, but installing and checking are only written down.
PYTHON = f"""#!/bin/sh
case "$*" in
  "-m pip "* | "-m venv "* | "-m ruff "* | "-m mypy"* | "-m pytest "*) printf '%s\\n' "$*" >> "$CALLS"; exit 0 ;;
esac
exec "{sys.executable}" "$@"
"""
PIP = '#!/bin/sh\nprintf "%s\\n" "-m pip $*" >> "$CALLS"\n'
WANWORKER = '#!/bin/sh\nexec python -m wanworker "$@"\n'

PATIENCE_S = 100


@dataclass(frozen=True)
class Clone:
    """A clone of the repository as its user has it, and a shell in its top folder."""

    top: Path
    env: dict[str, str]

    def start(self, text: str, **variables: str) -> subprocess.Popen[str]:
        """Start *text* in a shell that stops at the first failure."""
        argv = ["bash", "-e", "-o", "pipefail", "-c", text]
        return subprocess.Popen(
            argv, cwd=self.top, env={**self.env, **variables}, text=True, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, text: str, **variables: str) -> str:
        """Run *text* and return what it wrote; it must succeed."""
        with self.start(text, **variables) as process:
            try:
                out, log = process.communicate(timeout=PATIENCE_S)
            finally:
                stop(process, signal.SIGKILL)
        assert 0 == process.returncode, f"{text}\n{out[-2000:]}\n{log[-4000:]}"
        return out

    def calls(self) -> list[str]:
        return Path(self.env["CALLS"]).read_text().splitlines()


def stop(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """Send *number* to the process and all that it started, while it runs."""
    if process.poll() is None:
        os.killpg(process.pid, number)


def facts_of(path: Path) -> VideoFacts:
    return asyncio.run(decode_check(path))


def shell_blocks(page: str, heading: str) -> list[str]:
    blocks = [block.text for block in pages.all_blocks(page) if (block.heading, block.language) == (heading, "sh")]
    assert blocks, f"{page} has no shell under {heading!r}"
    return blocks


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    top, tools = tmp_path / "clone", tmp_path / "tools"
    for folder in (top / ".venv" / "bin", tools):
        folder.mkdir(parents=True)
    requirements = ("requirements.txt", "requirements.lock", "requirements-dev.lock")
    for name in ("src", "workflows", "handler.py", "test_input.json", *requirements):
        (top / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "scripts", top / "scripts", ignore=shutil.ignore_patterns("train_mini"))
    for path, text in (
        (top / ".venv/bin/python", PYTHON),
        (tools / "python", PYTHON),
        (tools / "python3", PYTHON),
        (tools / "pip", PIP),
        (tools / "wanworker", WANWORKER),
    ):
        path.write_text(text)
        path.chmod(0o755)
    env = worker_environment(tmp_path, {"CALLS": str(tmp_path / "calls"), "WAN_ENGINE": "mini"})
    return Clone(top, {**env, "PATH": f"{tools}:{env['PATH']}", "PYTHONPATH": str(ROOT / "src")})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run one REST server for the module, so that its miniature is loaded once, and give its address."""
    folder = tmp_path_factory.mktemp("server")
    with serving(folder, {"WAN_CKPT_DIR": str(folder / "models"), "DOWNLOAD_ONCE": "false"}) as address:
        yield address


def at(address: str, text: str) -> str:
    """Return *text* with RunPod's address and the default one replaced by *address*."""
    return re.sub(r"https://api\.runpod\.ai(?=/v2/)|(http://)?(localhost|127\.0\.0\.1):8189", address, text)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_two_commands_render_and_check(clone: Clone) -> None:
    (block,) = shell_blocks("README.md", "Two commands")
    del clone.env["WAN_OUT_DIR"]
    out = clone.run(block)
    (video,) = (clone.top / "outputs").glob("*.mp4")

    assert video.name in out
    assert facts_of(video).frames > 1
    assert ["-m ruff check", "-m ruff forma", "-m mypy", "-m pytest -q "] == [line[:13] for line in clone.calls()[-4:]]
    assert ["requirements.lock", "requirements-dev.lock"] == [
        line.rpartition(" ")[2]
        for line in clone.calls()
        if line.startswith("-m pip install") and "--require-hashes" in line
    ]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_shell_calls_of_an_endpoint_are_answered(clone: Clone, server: str) -> None:
    (*blocks,) = (
        *shell_blocks("README.md", "The first request")[1:],
        *shell_blocks("docs/usage.md", "A RunPod endpoint"),
        *shell_blocks("docs/deploy.md", "A queue endpoint"),
    )
    answers = [
        json.loads(clone.run(at(server, block), ENDPOINT_ID="local", RUNPOD_API_KEY="a-key")) for block in blocks
    ]
    by_path, by_data, health = (answer["output"] for answer in answers)

    assert ["COMPLETED"] * 3 == [answer["status"] for answer in answers]
    assert (832, 480) == (by_path["video"]["width"], by_path["video"]["height"])
    assert Path(by_path["result"]["path"]).is_file()
    assert by_data["result"]["data"].startswith("data:video/mp4;base64,")
    assert health["ok"] is True


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_first_clip_of_deploy_md_is_saved(clone: Clone, server: str) -> None:
    names = {"ENDPOINT_ID": "local", "RUNPOD_API_KEY": "a-key"}
    heading = "Every step, from nothing to a first video"
    _, command, send, save = (at(server, text) for text in shell_blocks("docs/deploy.md", heading))
    clone.run(command, **{**names, "ENDPOINT_ID": f"{server}/v2/local"})
    job_id = json.loads(clone.run(send, **names))["id"]
    ask = save.partition("\n")[0] + "\ncat answer.json"
    while json.loads(clone.run(ask, **names, JOB_ID=job_id))["status"] in ("IN_QUEUE", "IN_PROGRESS"):
        pass  # the call itself takes its time
    clone.run(save, **names, JOB_ID=job_id)

    for video in ("harbour.mp4", "first.mp4"):
        facts = facts_of(clone.top / video)
        assert (1280, 704, 121) == (facts.width, facts.height, facts.frames)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_readmes_python_client_saves_the_video(clone: Clone, server: str, tmp_path: Path) -> None:
    for page in ("README.md", "docs/usage.md"):
        (client,) = pages.blocks(pages.read(page), "python")
        said = clone.run('exec python -c "$CLIENT"', CLIENT=at(server, client))
        facts = facts_of(clone.top / "star.mp4")
        (clone.top / "star.mp4").unlink()

        assert 6 >= len(client.splitlines())
        assert (832, 480) == (facts.width, facts.height)
        assert said.startswith("star.mp4 ")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_openai_package_on_api_md_gets_a_video(clone: Clone, server: str) -> None:
    (client,) = (block for block in pages.blocks(pages.read("docs/api.md"), "python") if "import OpenAI" in block)
    clone.run('exec python -W "ignore:The Sora API:DeprecationWarning" -c "$CLIENT"', CLIENT=at(server, client))
    facts = facts_of(clone.top / "star.mp4")

    assert (128, 128) == (facts.width, facts.height)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_speaking_video_on_api_md_is_made(clone: Clone, server: str) -> None:
    (call,) = (block for block in pages.blocks(pages.read("docs/api.md"), "sh") if "singer.png" in block)
    Image.new("RGB", (64, 48), (200, 60, 20)).save(clone.top / "singer.png")
    sound(clone.top / "song.wav")
    video = json.loads(clone.run(at(server, call)))
    place = f"{server}/v1/videos/{video['id']}"
    until_done = 'until curl -sf "$PLACE" | grep -E \'"status": ?"(completed|failed)"\'; do sleep 0.2; done'
    clone.run(f'{until_done}; curl -sf "$PLACE/content" -o sung.mp4', PLACE=place)
    facts = facts_of(clone.top / "sung.mp4")

    assert ("s2v-14B", True) == (video["model"], facts.has_audio)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_client_made_of_requests_saves_the_video(clone: Clone, server: str, tmp_path: Path) -> None:
    (client,) = (block for block in pages.blocks(pages.read("docs/api.md"), "python") if "import requests" in block)
    here = clone.run('exec python -c "$CLIENT"', CLIENT=at(server, client).replace("sleep(2)", "sleep(0.2)"))
    (video,) = clone.top.glob("*.mp4")
    facts = facts_of(video)

    assert (832, 480, 81) == (facts.width, facts.height, facts.frames)
    assert "COMPLETED" == here.splitlines()[-1].strip()
    # On an endpoint nothing but the address changes.
    clone.run(
        'exec python -c "$CLIENT"', CLIENT=client.replace("sleep(2)", "sleep(0.2)"), ENDPOINT_URL=f"{server}/v2/e"
    )
    assert 2 == len(list(clone.top.glob("*.mp4")))


@pytest.mark.slow
def test_a_video_goes_through_a_pipe(clone: Clone, server: str) -> None:
    (block,) = (text for text in shell_blocks("docs/usage.md", "The command line") if "-o -" in text)

    clone.run(at(server, block))

    assert facts_of(clone.top / "star.mp4").frames > 1


@contextmanager
def started(clone: Clone, text: str, sign: str, **variables: str) -> Iterator[None]:
    """Run a server's command until the block ends; it is there when it has written *sign*."""
    with clone.start(text, **variables) as process:
        assert process.stderr is not None
        said = []
        try:
            for line in process.stderr:
                said.append(line)
                if sign in line:
                    break
            else:
                pytest.fail("".join(said))
            yield
        finally:
            stop(process, signal.SIGINT)
            process.communicate(timeout=PATIENCE_S)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_readmes_server_renders_and_takes_jobs(clone: Clone) -> None:
    serve, *_ = shell_blocks("README.md", "The first request")
    (block,) = shell_blocks("docs/usage.md", "A server of your own")
    render, submit = block.splitlines()
    port = held_port()
    clone.run(render)
    with started(clone, f"exec {serve}", str(port), REST_PORT=str(port)):
        clone.run(at(f"http://127.0.0.1:{port}", submit))
    facts = facts_of(clone.top / "star.mp4")

    assert (832, 480) == (facts.width, facts.height)
    assert 2 == len(list(clone.top.glob("*.mp4")))


@pytest.mark.slow
def test_the_calls_of_api_md_end_with_a_video(clone: Clone, server: str) -> None:
    (block,) = shell_blocks("docs/api.md", "REST")
    generate, status, download = re.findall(r"^curl (?:.*\\\n)*.*$", at(server, block), re.MULTILINE)
    job_id = json.loads(clone.run(generate))["job_id"]
    give_up = time.monotonic() + PATIENCE_S
    while (shown := json.loads(clone.run(status.replace("JOB_ID", job_id))))["status"] != "completed":
        assert "error" not in shown
        assert time.monotonic() < give_up
    clone.run(download.replace("JOB_ID", job_id))
    facts = facts_of(clone.top / "star.mp4")

    assert (128, 128, 17) == (facts.width, facts.height, facts.frames)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_handlers_own_ways_to_take_a_job(clone: Clone) -> None:
    lines, call = shell_blocks("docs/usage.md", "The handler itself")
    install, from_file, from_argument, serve = lines.splitlines()
    port = held_port()
    clone.run(install)
    answered = [clone.run(f"{each} 2>&1") for each in (from_file, from_argument)]
    with started(clone, f"exec {serve} --rp_api_port {port}", "Uvicorn running"):
        health = json.loads(clone.run(call.replace("localhost:8000", f"localhost:{port}")))

    assert ["-m pip install -r requirements.txt"] == clone.calls()
    assert ["'COMPLETED'"] * 2 == [re.findall(r"'COMPLETED'", text)[0] for text in answered]
    assert health["output"]["ok"] is True


def test_doctors_answer_goes_through_a_pipe(clone: Clone) -> None:
    block = [block.text for block in pages.all_blocks("docs/models.md") if block.language == "sh"][-1]
    # doctor ends with 1 where only the miniature can render, which is no failure of the pipe.
    out = clone.run(f"set +o pipefail\n{block}")

    assert out.strip() in {"True", "False"}
