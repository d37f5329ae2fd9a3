"""scripts/start.sh, run: which program it becomes by RunPod's variables, as which user, with which environment."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "start.sh"

#: Stands in for python: says how it was called, then does what the file `then` in HOME says.
PYTHON = """#!/usr/bin/env bash
printf '%s\\n' "$*" > "$SAID/arguments"
printf '%s\\n' "$$" > "$SAID/pid"
env > "$SAID/environment"
eval "$(cat "$SAID/then" 2>/dev/null)"
"""

#: Stands in for setpriv where nobody may become another user: notes what it was asked, and runs the command.
SETPRIV = """#!/usr/bin/env bash
printf '%s\\n' "$*" >> "$SAID/setpriv"
while [ "$1" != env ]; do shift; done
NOW=worker exec "$@"
"""

#: Who the script is: root until setpriv has made it the worker, if the test wants it so.
ID = """#!/usr/bin/env bash
if [ -n "$NOW" ]; then echo 10001; else echo "$START_UID"; fi
"""

QUEUE = {"RUNPOD_WEBHOOK_GET_JOB": "https://x/job-take/$ID?gpu=y", "RUNPOD_ENDPOINT_ID": "e", "RUNPOD_POD_ID": "p"}
POD = {"RUNPOD_POD_ID": "p"}


@dataclass
class Container:
    """The script with its folders moved below *root*, and stand-ins on PATH."""

    root: Path
    said: Path
    env: dict[str, str] = field(default_factory=dict)

    @property
    def script(self) -> Path:
        return self.root / "app" / "scripts" / "start.sh"

    def start(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.script), *command],
            env=self.env | variables,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    @property
    def arguments(self) -> str:
        return (self.said / "arguments").read_text().strip()

    @property
    def environment(self) -> dict[str, str]:
        lines = (self.said / "environment").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)


@pytest.fixture
def container(tmp_path: Path) -> Container:
    root, said, tools = tmp_path / "root", tmp_path / "said", tmp_path / "bin"
    for folder in (root / "app" / "scripts", root / "home", said, tools):
        folder.mkdir(parents=True)
    text = SCRIPT.read_text()
    for name, place in (("app", "app"), ("volume", "runpod-volume"), ("workspace", "workspace"), ("home", "home")):
        text, count = re.subn(rf"(?m)^{name}=/.*$", f"{name}={root / place}", text)
        assert count == 1, name
    made = Container(root, said)
    made.script.write_text(text)
    for path, body in ((tools / "python", PYTHON), (tools / "setpriv", SETPRIV), (tools / "id", ID)):
        path.write_text(body)
        path.chmod(0o755)
    made.script.chmod(0o755)
    made.env = {"PATH": f"{tools}:/usr/bin:/bin", "SAID": str(said), "START_UID": "10001"}
    return made


def test_a_queue_starts_the_handler_unbuffered(container: Container) -> None:
    done = container.start(**QUEUE)

    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)
    assert f"-u {container.root}/app/handler.py" == container.arguments
    assert "WAN_API_KEY" not in container.environment


def test_the_hubs_tests_name_a_queue_and_no_endpoint(container: Container) -> None:
    container.start(RUNPOD_WEBHOOK_GET_JOB="http://0.0.0.0:80/v2/IDE/job-take/x")

    assert container.arguments.endswith("handler.py")


@pytest.mark.parametrize(
    ("variables", "port"),
    [
        ({"RUNPOD_ENDPOINT_ID": "e", "RUNPOD_POD_ID": "p"}, "80"),
        ({"RUNPOD_ENDPOINT_ID": "e", "PORT": "8080"}, "8080"),
        ({**QUEUE, "PORT": "8080"}, "8080"),
        ({"PORT": "8080"}, "8080"),
    ],
    ids=["RunPod's default", "its own port", "beside a queue", "port alone"],
)
def test_a_load_balancer_gets_rest_on_its_port_without_a_key(
    container: Container, variables: dict[str, str], port: str
) -> None:
    done = container.start(**variables)

    assert "-m wanworker.rest" == container.arguments
    assert port == container.environment["PORT"]
    assert {"WAN_API_KEY", "REST_HOST"} & container.environment.keys() == set()
    assert "" == done.stdout + done.stderr


def test_a_pod_gets_rest_for_everybody_with_a_key_that_is_printed_once(container: Container) -> None:
    done = container.start(**POD)

    key = container.environment["WAN_API_KEY"]
    assert "-m wanworker.rest" == container.arguments
    assert re.fullmatch(r"[\w-]{32}", key)
    assert 1 == (done.stdout + done.stderr).count(key)
    assert "0.0.0.0" == container.environment["REST_HOST"]
    assert "PORT" not in container.environment


def test_two_starts_make_two_keys(container: Container) -> None:
    container.start(**POD)
    first = container.environment["WAN_API_KEY"]
    container.start(**POD)

    assert first != container.environment["WAN_API_KEY"]


def test_a_key_of_the_users_is_kept_and_not_printed(container: Container) -> None:
    done = container.start(**POD, WAN_API_KEY="mine", REST_HOST="127.0.0.1")

    assert "mine" == container.environment["WAN_API_KEY"]
    assert "127.0.0.1" == container.environment["REST_HOST"]
    assert "" == done.stdout + done.stderr


def test_who_wants_an_open_server_gets_no_key(container: Container) -> None:
    done = container.start(**POD, REST_ALLOW_OPEN="true")

    assert "WAN_API_KEY" not in container.environment
    assert "" == done.stderr


def test_outside_of_runpod_it_is_as_on_a_pod(container: Container) -> None:
    container.start()

    assert "-m wanworker.rest" == container.arguments
    assert "WAN_API_KEY" in container.environment


def test_the_rest_server_finds_the_source_and_what_was_on_the_path(container: Container) -> None:
    container.start(PYTHONPATH="/mine")

    assert f"{container.root}/app/src:/mine" == container.environment["PYTHONPATH"]


@pytest.mark.parametrize("variables", [QUEUE, POD], ids=["handler", "rest"])
def test_serving_is_offline_unless_the_user_says_otherwise(container: Container, variables: dict[str, str]) -> None:
    container.start(**variables)
    default = container.environment["HF_HUB_OFFLINE"]
    container.start(**variables, HF_HUB_OFFLINE="0")

    assert ("1", "0") == (default, container.environment["HF_HUB_OFFLINE"])


def test_a_command_is_run_as_it_is_and_may_download(container: Container) -> None:
    done = container.start("sh", "-c", 'echo "$1|${HF_HUB_OFFLINE-unset}|${WAN_API_KEY-unset}"', "x", "a b", **QUEUE)

    assert "a b|unset|unset\n" == done.stdout


@pytest.mark.parametrize("variables", [QUEUE, POD, {"PORT": "1"}], ids=["handler", "rest", "balancer"])
def test_the_exit_code_is_the_programs(container: Container, variables: dict[str, str]) -> None:
    (container.said / "then").write_text("exit 7")

    assert 7 == container.start(**variables).returncode


@pytest.mark.parametrize("variables", [QUEUE, POD], ids=["handler", "rest"])
@pytest.mark.parametrize("uid", ["0", "10001"], ids=["as root", "as the user"])
def test_the_program_takes_the_scripts_place_and_so_its_signals(
    container: Container, variables: dict[str, str], uid: str
) -> None:
    (container.said / "then").write_text(
        "trap 'echo finished; exit 3' TERM; : > \"$SAID/ready\"; while :; do sleep 0.05; done"
    )
    env = container.env | variables | {"START_UID": uid}
    with subprocess.Popen([str(container.script)], env=env, stdout=subprocess.PIPE, text=True) as process:
        try:
            deadline = time.monotonic() + 20
            while not (container.said / "ready").exists() and time.monotonic() < deadline:
                time.sleep(0.02)
            process.send_signal(signal.SIGTERM)
            said, _ = process.communicate(timeout=20)
        finally:
            process.kill()

    assert str(process.pid) == (container.said / "pid").read_text().strip()
    assert (3, "finished\n") == (process.returncode, said)


def test_root_becomes_the_worker_before_anything_runs(container: Container) -> None:
    container.start(**QUEUE, START_UID="0")

    environment = container.environment
    assert ("worker", str(container.root / "home"), "worker") == (
        environment["USER"], environment["HOME"], environment["NOW"],
    )  # fmt: skip
    asked = (container.said / "setpriv").read_text().splitlines()
    assert all(line.startswith("--reuid worker --regid worker --init-groups env ") for line in asked)


def test_workspace_leads_to_the_volume_where_only_that_exists(container: Container) -> None:
    (container.root / "runpod-volume").mkdir()

    container.start(**QUEUE, START_UID="0")
    again = container.start(**QUEUE, START_UID="0")

    assert container.root / "runpod-volume" == (container.root / "workspace").readlink()
    assert "" == again.stderr


def test_a_workspace_that_is_there_is_left_alone(container: Container) -> None:
    for name in ("runpod-volume", "workspace"):
        (container.root / name).mkdir()

    container.start(**QUEUE, START_UID="0")

    assert not (container.root / "workspace").is_symlink()


def test_without_a_volume_nothing_is_linked_and_home_takes_the_videos(container: Container) -> None:
    container.start(**QUEUE, START_UID="0")

    assert not (container.root / "workspace").is_symlink()
    assert {"outputs", "models"} == {path.name for path in (container.root / "home").iterdir()}


@pytest.mark.parametrize("place", ["runpod-volume", "workspace"])
def test_the_volume_gets_a_folder_for_videos_and_one_for_models(container: Container, place: str) -> None:
    (container.root / place).mkdir()

    container.start(**QUEUE, START_UID="0")

    assert {"outputs", "models"} == {path.name for path in (container.root / place).iterdir()}
    assert [] == list((container.root / "home").iterdir())


def test_another_output_folder_is_made_instead(container: Container) -> None:
    container.start(**QUEUE, START_UID="0", WAN_OUT_DIR=str(container.root / "my videos"))

    assert (container.root / "my videos").is_dir()
    assert ["models"] == [path.name for path in (container.root / "home").iterdir()]


def test_a_user_that_may_not_become_another_prepares_nothing_and_serves(container: Container) -> None:
    (container.root / "runpod-volume").mkdir()

    container.start(**QUEUE)

    assert [] == list((container.root / "runpod-volume").iterdir())
    assert not (container.said / "setpriv").exists()
    assert container.arguments.endswith("handler.py")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_with_the_real_setpriv_the_worker_writes_where_only_root_could(container: Container) -> None:
    text = container.script.read_text()
    container.script.write_text(re.sub(r"(?m)^user=.*$", "user=nobody", text.replace("$user:$user", "$user:")))
    container.script.write_text(container.script.read_text().replace('--regid "$user"', "--regid nogroup"))
    for tool in ("setpriv", "id"):
        (container.script.parents[3] / "bin" / tool).unlink()
    for folder in (container.script.parents[3], *container.script.parents[3].parents):
        if folder.is_relative_to("/tmp") and folder != Path("/tmp"):
            folder.chmod(0o755)
    volume = container.root / "runpod-volume"
    (volume / "outputs" / "jobs").mkdir(parents=True)
    (volume / "outputs" / "theirs.mp4").touch()
    container.said.chmod(0o777)
    (container.said / "then").write_text(f'id -u > "$SAID/uid"; : > "{volume}/outputs/mine.mp4"')

    done = container.start(**QUEUE)

    assert (0, "") == (done.returncode, done.stderr)
    assert "0\n" != (container.said / "uid").read_text()
    assert (volume / "outputs" / "mine.mp4").stat().st_uid != 0
    assert 0 == (volume / "outputs" / "theirs.mp4").stat().st_uid
    assert 0 == volume.stat().st_uid


def test_a_folder_that_cannot_be_given_away_is_said_and_the_worker_still_starts(container: Container) -> None:
    # Its own fitness check then says what is wrong, where RunPod shows it.
    (container.root / "file").touch()

    done = container.start(**QUEUE, START_UID="0", WAN_OUT_DIR=str(container.root / "file" / "outputs"))

    assert f"worker cannot write in {container.root}/file/outputs." in done.stderr
    assert container.arguments.endswith("handler.py")


def test_the_script_is_executable_and_short() -> None:
    assert os.access(SCRIPT, os.X_OK)
    assert len(SCRIPT.read_text().splitlines()) <= 70
