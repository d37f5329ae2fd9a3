from __future__ import annotations

import json
import signal
import socket
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import typer

from fakes import command_line
from fakes.ports import held_port
from wanworker.cli.commands import serve

SERVER = [sys.executable, "-m", "wanworker.rest"]


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([], []),
        (["--port", "9000"], ["--port", "9000"]),
        (["--host", "::1", "--port", "80"], ["--host", "::1", "--port", "80"]),
    ],
)
def test_the_command_becomes_the_server(argv: list[str], expected: list[str]) -> None:
    became: list[tuple[str, list[str]]] = []
    options = command_line.parsed(serve.ServeOptions, *argv)

    serve.run(options, become=lambda program, argv: became.append((program, argv)))

    assert [(sys.executable, [*SERVER, *expected])] == became


@pytest.mark.parametrize("port", ["0", "65536", "http"])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    with pytest.raises(typer.TyperException) as caught:
        command_line.parsed(serve.ServeOptions, "--port", port)

    assert "'--port': Input should be" in caught.value.format_message()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_a_signal_and_ends_without_a_traceback(tmp_path: Path, number: signal.Signals) -> None:
    port = held_port()
    process = command_line.start(tmp_path, "serve", "--port", str(port))
    try:
        status = json.loads(answer_of(f"http://127.0.0.1:{port}/"))
    finally:
        process.send_signal(number)
        _, logged = process.communicate(timeout=30)

    assert {"length": 0, "running": 0} == {name: status["queue"][name] for name in ("length", "running")}
    assert process.returncode in {128 + number, -number}  # a shell shows either as the same
    assert "Traceback" not in logged
    assert "KeyboardInterrupt" not in logged


def test_a_busy_port_is_named_with_the_option_for_another_one(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code, _, complained = command_line.run(tmp_path, "serve", "--port", str(port))

    assert 2 == code
    (line,) = complained.splitlines()
    assert line.startswith(f"The server will not start: another program already listens at port {port} of 127.0.0.1.")
    assert "--port" in line


def test_it_does_not_listen_to_everybody_by_accident(tmp_path: Path) -> None:
    code, _, complained = command_line.run(tmp_path, "serve", "--host", "0.0.0.0")

    assert 2 == code
    assert "WAN_API_KEY" in complained


def answer_of(url: str) -> bytes:
    """Return the body at *url* as soon as somebody answers."""
    give_up = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return bytes(answer.read())
        except OSError:
            assert time.monotonic() < give_up
            time.sleep(0.1)
