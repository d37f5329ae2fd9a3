"""The supervised server, with real processes: the fake main.py is started, adopted, killed, hung and stopped."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from fakes.comfyui import FakeComfyUI
from fakes.gate import put_whole
from fakes.passing_time import PassingTime
from fakes.ports import held_port
from fakes.stopped import stop
from wanworker.comfyui.server.supervisor import Launch, Limits, Server
from wanworker.errors import EngineUnavailable

FAKE_MAIN = Path(__file__).resolve().parents[2] / "fakes" / "comfyui_main.py"
SOURCE = Path(__file__).resolve().parents[3] / "src"
#: A healthy server may take long to answer on a busy machine: the tests that wait for silence say how long.
QUICK = Limits(poll_s=0.02, connect_s=30, answer_s=30, stop_grace_s=0.3)


@dataclass
class Checkout:
    """A folder that looks like ComfyUI's, and what its server was started with."""

    root: Path
    launch: Launch
    servers: list[Server] = field(default_factory=list)

    def server(self, limits: Limits = QUICK, **options: Any) -> Server:
        self.servers.append(Server(self.launch, limits=limits, **options))
        return self.servers[-1]

    def knobs(self, **knobs: Any) -> None:
        (self.root / "knobs.json").write_text(json.dumps(knobs))

    @property
    def argv(self) -> list[str]:
        return list(json.loads((self.root / "argv.json").read_text()))

    @property
    def pids(self) -> list[int]:
        """The process id of every start, and of children left."""
        path = self.root / "pids"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def lines(self, words: str) -> int:
        """Say how many lines with *words* its log has."""
        path = self.launch.log_path
        return path.read_text().count(words) if path.exists() else 0

    def option(self, flag: str) -> str:
        return self.argv[self.argv.index(flag) + 1]


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
async def checkout(tmp_path: Path) -> AsyncIterator[Checkout]:
    root = tmp_path / "ComfyUI"
    root.mkdir()
    (root / "main.py").symlink_to(FAKE_MAIN)
    launch = Launch(
        root=root,
        python=Path(sys.executable),
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        work_dir=tmp_path / "work",
        port=held_port(),
        cpu=True,
    )
    made = Checkout(root, launch)
    yield made
    for server in made.servers:
        await server.close()
    assert [] == [pid for pid in made.pids if lives(pid)]


@contextlib.contextmanager
def silent_port() -> Iterator[int]:
    """A port on which connections are accepted and nothing is ever said."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield int(listening.getsockname()[1])


@contextlib.asynccontextmanager
async def other_program(port: int, answer: Callable[[], web.Response]) -> AsyncIterator[None]:
    async def handle(_: web.Request) -> web.Response:
        return answer()

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield
    finally:
        await runner.cleanup()


# Start


async def test_the_server_is_started_on_the_first_use_and_not_again(checkout: Checkout) -> None:
    server = checkout.server()
    before = server.status, server.generation
    stages: list[str] = []

    await server.ensure(stages.append)
    await server.ensure(stages.append)

    assert ("offline", 0) == before
    assert ("online", 1) == (server.status, server.generation)
    assert ["starting ComfyUI"] == stages
    assert 1 == len(checkout.pids)


async def test_the_command_line_is_whole(checkout: Checkout, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    checkout.launch = replace(
        checkout.launch,
        model_roots=(tmp_path / "models",),
        output_dir=tmp_path / "made" / "out",
        input_dir=tmp_path / "made" / "in",
        preview_method="latent2rgb",
        arguments=("--lowvram",),
    )
    await checkout.server().ensure()

    expected = ["--listen", "127.0.0.1", "--port", str(checkout.launch.port), "--disable-auto-launch"]
    assert expected == checkout.argv[:5]
    assert str(tmp_path / "made" / "out") == checkout.option("--output-directory")
    assert str(tmp_path / "made" / "in") == checkout.option("--input-directory")
    assert str(tmp_path / "work") == checkout.option("--temp-directory")
    assert ["--cpu", "--preview-method", "latent2rgb", "--lowvram"] == checkout.argv[-4:]
    assert (tmp_path / "made" / "in").is_dir()
    assert f"Adding extra search path vae {tmp_path}/models/vae" in checkout.launch.log_path.read_text()


async def test_relative_folders_are_given_whole(
    checkout: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    checkout.launch = replace(checkout.launch, work_dir=Path("rel"), output_dir=Path("out"), cpu=False)
    await checkout.server().ensure()

    assert [str(tmp_path / "out"), str(tmp_path / "rel" / "extra_model_paths.yaml")] == [
        checkout.option("--output-directory"),
        checkout.option("--extra-model-paths-config"),
    ]
    assert "--cpu" not in checkout.argv


async def test_a_checkout_that_knows_of_databases_gets_one_of_its_own(checkout: Checkout, tmp_path: Path) -> None:
    # Servers of two workers would lock each other out of the one in a checkout on the volume.
    (checkout.root / "comfy").mkdir()
    (checkout.root / "comfy" / "cli_args.py").write_text('parser.add_argument("--database-url", type=str)\n')
    await checkout.server().ensure()

    assert f"sqlite:///{tmp_path}/work/comfyui.db" == checkout.option("--database-url")


async def test_the_server_sees_the_environment_it_was_given_and_none_of_our_packages(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNPOD_API_KEY", "secret")
    given = {"PYTHONPATH": f"{SOURCE}{os.pathsep}/opt/nodes", "VIRTUAL_ENV": "/opt/worker", "HF_HOME": "/hf"}
    checkout.launch = replace(checkout.launch, env={**checkout.launch.env, **given})
    await checkout.server().ensure()

    seen = json.loads((checkout.root / "environ.json").read_text())
    assert ("/opt/nodes", "/hf", "1") == (seen["PYTHONPATH"], seen["HF_HOME"], seen["PYTHONUNBUFFERED"])
    assert not {"RUNPOD_API_KEY", "VIRTUAL_ENV"} & seen.keys()


async def test_several_callers_wait_for_one_start(checkout: Checkout) -> None:
    server = checkout.server()

    await asyncio.gather(*(server.ensure() for _ in range(5)))

    assert 1 == len(checkout.pids)


async def test_a_cancelled_caller_leaves_the_start_to_the_others(checkout: Checkout) -> None:
    checkout.knobs(delay_s=0.5)
    server = checkout.server()
    first = asyncio.create_task(server.ensure())
    await until(lambda: len(checkout.pids) == 1)
    first.cancel()
    await asyncio.wait({first})

    await server.ensure()

    assert first.cancelled()
    assert 1 == len(checkout.pids)


async def test_a_start_is_starting_at_once_and_is_joined_later(checkout: Checkout) -> None:
    server = checkout.server()
    first = asyncio.create_task(server.ensure())
    stages: list[str] = []
    await until(lambda: bool(checkout.pids))
    status = server.status

    await server.ensure(stages.append)
    await first

    assert "starting" == status
    assert ["starting ComfyUI"] == stages
    assert 1 == len(checkout.pids)


async def test_a_slow_start_is_waited_for_while_its_log_moves(checkout: Checkout) -> None:
    checkout.knobs(waits=True)

    def clock() -> float:
        """Pass two seconds with each line; the server comes up when that has lasted longer than a silence may."""
        lines = checkout.lines("Import of a custom node")
        if lines == 3:
            (checkout.root / "go").touch()
        return 2.0 * lines

    server = checkout.server(replace(QUICK, quiet_s=5), clock=clock)

    await server.ensure()

    assert "online" == server.status
    assert checkout.lines("Import of a custom node") >= 3


async def test_a_start_during_which_the_worker_was_frozen_goes_on(checkout: Checkout) -> None:
    checkout.knobs(waits=True)

    def clock() -> float:
        """Jump by an hour at the first line; the server comes up some lines later."""
        lines = checkout.lines("Import of a custom node")
        if lines == 3:
            (checkout.root / "go").touch()
        return 3600.0 * min(lines, 1)

    server = checkout.server(replace(QUICK, start_s=1000, quiet_s=300), clock=clock)

    await server.ensure()

    assert "online" == server.status
    assert 1 == len(checkout.pids)


async def test_a_start_that_falls_silent_is_ended_and_said(checkout: Checkout) -> None:
    checkout.knobs(hangs=True, silent=True)
    server = checkout.server(
        replace(QUICK, quiet_s=300),
        clock=PassingTime(lambda: time.monotonic() + 301 * checkout.lines("ComfyUI version")),
    )

    with pytest.raises(EngineUnavailable, match=r"hangs in its start.*Device: cpu"):
        await server.ensure()

    assert [False] == [lives(pid) for pid in checkout.pids]
    assert "offline" == server.status


async def test_a_start_that_never_ends_is_ended_and_said(checkout: Checkout) -> None:
    checkout.knobs(hangs=True)
    server = checkout.server(
        replace(QUICK, start_s=1000, quiet_s=5000),
        clock=PassingTime(lambda: time.monotonic() + 1001 * min(1, checkout.lines("Import of a custom node"))),
    )

    with pytest.raises(EngineUnavailable, match=r"did not answer within 1\d{3} s of its start"):
        await server.ensure()

    assert [False] == [lives(pid) for pid in checkout.pids]


async def test_a_start_that_holds_the_port_and_answers_nothing_is_ended_and_said(checkout: Checkout) -> None:
    checkout.knobs(hangs=True, deaf=True, silent=True)
    server = checkout.server(
        replace(QUICK, answer_s=0.2),
        clock=PassingTime(lambda: time.monotonic() + 301 * min(1, checkout.lines("ComfyUI version"))),
    )

    with pytest.raises(EngineUnavailable, match=r"hangs in its start"):
        await server.ensure()
    checkout.knobs()
    await server.ensure()

    assert [False, True] == [lives(pid) for pid in checkout.pids]


# Death at the start


async def test_a_missing_module_is_named_without_a_traceback(checkout: Checkout) -> None:
    checkout.knobs(fails="module")
    server = checkout.server()

    with pytest.raises(EngineUnavailable) as caught:
        await server.ensure()

    message = str(caught.value)
    assert message.startswith("ComfyUI server is not responding. It did not start. It ended with exit code 1.")
    assert message.endswith("ModuleNotFoundError: No module named 'torchsde_that_is_not_there'")
    assert "Traceback" not in message
    assert str(checkout.launch.log_path) in str(caught.value.hint)
    assert "Traceback" in checkout.launch.log_path.read_text()


async def test_a_crash_at_the_start_names_its_signal(checkout: Checkout) -> None:
    checkout.knobs(fails="crash")

    with pytest.raises(EngineUnavailable, match=r"ended by SIGSEGV.*Fatal Python error: Segmentation fault"):
        await checkout.server().ensure()


async def test_an_argument_that_the_server_does_not_know_is_shown(checkout: Checkout) -> None:
    checkout.launch = replace(checkout.launch, arguments=("--no-such-flag",))

    with pytest.raises(EngineUnavailable, match="unrecognized arguments: --no-such-flag"):
        await checkout.server().ensure()


async def test_a_list_of_model_folders_that_the_server_cannot_read_is_shown(checkout: Checkout, tmp_path: Path) -> None:
    checkout.launch = replace(checkout.launch, arguments=("--extra-model-paths-config", str(tmp_path / "none.yaml")))

    with pytest.raises(EngineUnavailable, match=r"FileNotFoundError.*none\.yaml"):
        await checkout.server().ensure()


async def test_a_folder_without_main_py_says_what_to_set(checkout: Checkout) -> None:
    (checkout.root / "main.py").unlink()

    with pytest.raises(EngineUnavailable, match=r"ComfyUI server is not responding\. It is not installed") as caught:
        await checkout.server().ensure()

    assert "COMFYUI_ROOT" in str(caught.value.hint)


async def test_a_missing_interpreter_is_named(checkout: Checkout, tmp_path: Path) -> None:
    checkout.launch = replace(checkout.launch, python=tmp_path / "nowhere" / "python")

    with pytest.raises(EngineUnavailable, match=r"not responding\..*nowhere/python was not found"):
        await checkout.server().ensure()


async def test_a_work_folder_that_cannot_be_made_is_named(checkout: Checkout, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    checkout.launch = replace(checkout.launch, work_dir=tmp_path / "file" / "work")

    with pytest.raises(EngineUnavailable, match=r"not responding\. A folder that it needs cannot be made.*file/work"):
        await checkout.server().ensure()


async def test_starts_that_fail_are_further_and_further_apart_up_to_a_bound(checkout: Checkout) -> None:
    checkout.knobs(fails="exit")
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    server = checkout.server(replace(QUICK, longest_pause_s=3), sleep=sleep)
    for _ in range(6):
        with pytest.raises(EngineUnavailable):
            await server.ensure()
    checkout.knobs()
    await server.ensure()

    assert [0, 1, 2, 3, 3, 3] == pauses
    assert "online" == server.status


async def test_a_waiting_caller_is_told_of_the_pause(checkout: Checkout) -> None:
    checkout.knobs(fails="exit")
    server = checkout.server()
    with pytest.raises(EngineUnavailable):
        await server.ensure()
    checkout.knobs()
    stages: list[str] = []

    await server.ensure(stages.append)

    assert ["waiting to start ComfyUI again", "starting ComfyUI"] == stages


async def test_a_failed_start_whose_caller_has_gone_is_logged_and_met_again(
    checkout: Checkout, caplog: pytest.LogCaptureFixture
) -> None:
    checkout.knobs(fails="exit")
    server = checkout.server()
    first = asyncio.create_task(server.ensure())
    await until(lambda: bool(checkout.pids))
    first.cancel()
    await until(lambda: "no ComfyUI server" in caplog.text)

    with pytest.raises(EngineUnavailable, match="CUDA driver version is insufficient"):
        await server.ensure()

    assert 2 == len(checkout.pids)


# Death later


async def test_a_death_between_jobs_is_noticed_at_once_and_mended_on_the_next_use(
    checkout: Checkout, caplog: pytest.LogCaptureFixture
) -> None:
    server = checkout.server()
    await server.ensure()
    put_whole(checkout.root / "die", "134")
    await until(lambda: server.status == "offline")
    told = server.last_end

    await server.ensure()

    words = "It ended with exit code 134."
    assert told is not None
    assert told.text.startswith(words)
    assert "c10::Error" in told.text
    assert not told.out_of_memory
    assert words in caplog.text
    assert ("online", 2) == (server.status, server.generation)
    assert 2 == len(checkout.pids)


async def test_a_death_whose_last_lines_tell_of_memory_is_known_as_such(checkout: Checkout) -> None:
    server = checkout.server()
    await server.ensure()
    put_whole(checkout.root / "die", "1 torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 14.50 GiB.")
    await until(lambda: server.status == "offline")

    assert server.last_end is not None
    assert server.last_end.out_of_memory


async def test_a_use_right_after_a_kill_does_not_take_the_dying_server(checkout: Checkout) -> None:
    server = checkout.server()
    await server.ensure()
    os.kill(checkout.pids[0], signal.SIGKILL)
    await until(lambda: not lives(checkout.pids[0]))

    await server.ensure()

    assert 2 == server.generation
    assert server.last_end is not None
    assert "SIGKILL" in server.last_end.text
    assert server.last_end.out_of_memory  # the kernel's own way, and hardly anybody else's
    assert lives(checkout.pids[1])


async def test_a_server_that_hangs_is_stopped_by_its_caller_and_comes_back(checkout: Checkout) -> None:
    server = checkout.server()
    await server.ensure()
    stop(checkout.pids[0])

    stopped = await server.stop()
    status = server.status
    await server.ensure()

    assert stopped
    assert "offline" == status
    assert [False, True] == [lives(pid) for pid in checkout.pids]
    assert 2 == server.generation
    assert server.last_end is None


async def test_a_server_that_froze_between_jobs_is_replaced_and_costs_no_job(checkout: Checkout) -> None:
    now = [0.0]
    server = checkout.server(replace(QUICK, answer_s=0.2, hung_s=60), clock=PassingTime(lambda: now[0]))
    await server.ensure()
    stop(checkout.pids[0])
    waiting = asyncio.create_task(server.ensure())
    await asyncio.wait({waiting}, timeout=0.5)
    patient = not waiting.done()
    now[0] = 61

    await waiting

    assert patient
    assert [False, True] == [lives(pid) for pid in checkout.pids]
    assert ("online", 2) == (server.status, server.generation)


async def test_a_server_that_was_frozen_together_with_the_worker_is_kept(checkout: Checkout) -> None:
    now = [0.0]
    server = checkout.server(replace(QUICK, answer_s=0.2, hung_s=60), clock=lambda: now[0])
    await server.ensure()
    stop(checkout.pids[0])
    waiting = asyncio.create_task(server.ensure())
    await asyncio.wait({waiting}, timeout=0.5)
    now[0] = 3600
    await asyncio.wait({waiting}, timeout=0.5)  # the question that was on its way is over by then
    os.kill(checkout.pids[0], signal.SIGCONT)

    await waiting

    assert 1 == len(checkout.pids)
    assert ("online", 1) == (server.status, server.generation)


# Adopt


async def test_a_server_that_answers_already_is_used_and_not_stopped(checkout: Checkout, tmp_path: Path) -> None:
    async with FakeComfyUI(tmp_path / "theirs", port=checkout.launch.port) as theirs:
        server = checkout.server()
        await server.ensure()
        online = server.status
        stopped = await server.stop()
        await server.close()

        assert ("online", False, []) == (online, stopped, checkout.pids)
        assert 1 == server.generation
        assert 1 == theirs.seen["GET /system_stats"]


async def test_when_an_adopted_server_is_gone_ours_takes_its_place(checkout: Checkout, tmp_path: Path) -> None:
    server = checkout.server()
    async with FakeComfyUI(tmp_path / "theirs", port=checkout.launch.port):
        await server.ensure()

    await server.ensure()

    assert (1, 2) == (len(checkout.pids), server.generation)


async def test_of_two_workers_that_start_at_once_both_have_a_server(checkout: Checkout) -> None:
    checkout.knobs(delay_s=1)
    first, second = checkout.server(), checkout.server()
    early = asyncio.create_task(first.ensure())
    await until(lambda: len(checkout.pids) == 1)
    checkout.knobs()
    await second.ensure()
    await until(lambda: first.last_end is not None)  # it came too late for the port

    await early
    await first.ensure()

    assert "address already in use" in str(first.last_end)
    assert ("online", "online") == (first.status, second.status)
    assert [False, True] == [lives(pid) for pid in checkout.pids]


async def test_asking_finds_a_server_and_starts_none(checkout: Checkout, tmp_path: Path) -> None:
    server = checkout.server()
    before = await server.probe()
    async with FakeComfyUI(tmp_path / "theirs", port=checkout.launch.port):
        found = await server.probe()
    after = await server.probe()

    assert ("offline", "online", "offline") == (before, found, after)
    assert [] == checkout.pids


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda: web.Response(status=404), "HTTP 404"),
        (lambda: web.Response(text="<html>"), "no JSON object"),
        (lambda: web.json_response([]), "no JSON object"),
        (lambda: web.json_response({"ok": True}), "an object without system and devices"),
    ],
)
async def test_a_port_with_another_program_is_a_clear_error_and_starts_nothing(
    checkout: Checkout, answer: Callable[[], web.Response], said: str
) -> None:
    server = checkout.server()
    async with other_program(checkout.launch.port, answer):
        with pytest.raises(EngineUnavailable, match=rf"not responding\. Something else is at its.*{said}") as caught:
            await server.ensure()

    assert "COMFYUI_PORT" in str(caught.value.hint)
    assert [] == checkout.pids
    assert "offline" == server.status


async def test_a_port_that_accepts_and_says_nothing_is_left_alone(checkout: Checkout) -> None:
    with silent_port() as port:
        checkout.launch = replace(checkout.launch, port=port)
        with pytest.raises(EngineUnavailable, match=r"^ComfyUI server is not responding$"):
            await checkout.server(replace(QUICK, answer_s=0.2)).ensure()

    assert [] == checkout.pids


# The end


async def test_closing_leaves_nothing_behind(checkout: Checkout) -> None:
    checkout.knobs(leaves_a_child=True)
    server = checkout.server()
    await server.ensure()

    await server.close()

    assert [False, False] == [lives(pid) for pid in checkout.pids]
    with pytest.raises(EngineUnavailable, match="worker is stopping"):
        await server.ensure()


async def test_a_child_of_a_server_that_died_does_not_outlive_it(checkout: Checkout) -> None:
    checkout.knobs(leaves_a_child=True)
    server = checkout.server()
    await server.ensure()
    os.kill(checkout.pids[0], signal.SIGKILL)

    await until(lambda: server.status == "offline")

    assert [False, False] == [lives(pid) for pid in checkout.pids]


async def test_closing_ends_a_server_that_ignores_sigterm(checkout: Checkout) -> None:
    checkout.knobs(ignores_sigterm=True)
    server = checkout.server()
    await server.ensure()

    await server.close()

    assert [False] == [lives(pid) for pid in checkout.pids]


async def test_closing_during_a_start_ends_it_and_frees_who_waits(checkout: Checkout) -> None:
    checkout.knobs(hangs=True)
    server = checkout.server()
    waiting = asyncio.create_task(server.ensure())
    await until(lambda: bool(checkout.pids))

    await server.close()

    with pytest.raises(EngineUnavailable, match="stopped while it started"):
        await waiting
    assert [False] == [lives(pid) for pid in checkout.pids]


WORKER = """
import asyncio, sys
from pathlib import Path
from wanworker.comfyui.server.supervisor import Launch, Server
root, port, path = sys.argv[1:]
async def main():
    launch = Launch(Path(root), Path(sys.executable), {"PATH": path}, Path(root) / "work", port=int(port))
    await Server(launch).ensure()
    print("ready", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


async def test_a_killed_worker_takes_its_server_along(checkout: Checkout) -> None:
    argv = [sys.executable, "-c", WORKER, str(checkout.root), str(checkout.launch.port), os.environ["PATH"]]
    env = {**os.environ, "PYTHONPATH": str(SOURCE)}
    worker = await asyncio.create_subprocess_exec(*argv, env=env, stdout=asyncio.subprocess.PIPE)
    try:
        assert worker.stdout is not None
        line = await asyncio.wait_for(worker.stdout.readline(), 30)
        alive = lives(checkout.pids[0])
    finally:
        worker.kill()
        await worker.wait()

    assert b"ready\n" == line
    assert alive
    await until(lambda: not lives(checkout.pids[0]))


# Remote


async def test_a_remote_server_is_asked_with_its_token(tmp_path: Path) -> None:
    async with FakeComfyUI(tmp_path, token="let me in") as fake:
        server = Server(fake.url, token="let me in", limits=QUICK)
        await server.ensure()
        await server.close()

        assert ("online", 1) == (server.status, server.generation)


async def test_a_refused_token_says_so(tmp_path: Path) -> None:
    async with FakeComfyUI(tmp_path, token="let me in") as fake:
        server = Server(fake.url, token="wrong", limits=QUICK)
        with pytest.raises(EngineUnavailable, match=r"not responding\..*HTTP 401") as caught:
            await server.ensure()
        await server.close()

    assert "token" in str(caught.value.hint)
    assert "offline" == server.status


async def test_a_remote_server_that_refuses_is_the_documented_sentence_at_once() -> None:
    server = Server(f"http://127.0.0.1:{held_port()}")
    started = time.monotonic()

    with pytest.raises(EngineUnavailable, match=r"^ComfyUI server is not responding$"):
        await server.ensure()

    await server.close()
    assert time.monotonic() - started < 5


async def test_a_remote_server_that_says_nothing_is_given_up_after_the_limit() -> None:
    with silent_port() as port:
        server = Server(f"http://127.0.0.1:{port}", limits=replace(QUICK, answer_s=0.3))
        with pytest.raises(EngineUnavailable, match=r"^ComfyUI server is not responding$"):
            async with asyncio.timeout(5):
                await server.ensure()
        await server.close()

    assert Limits().answer_s < 10  # of which the connecting is a part


async def test_a_remote_server_that_was_away_is_another_generation(tmp_path: Path) -> None:
    fake = FakeComfyUI(tmp_path)
    await fake.start()
    server = Server(fake.url, limits=QUICK)
    await server.ensure()
    await fake.die()
    with pytest.raises(EngineUnavailable):
        await server.ensure()
    away = server.status
    await fake.start()
    await server.ensure()
    await server.close()
    await fake.die()

    assert ("offline", 2) == (away, server.generation)
