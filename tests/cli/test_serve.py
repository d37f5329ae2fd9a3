from __future__ import annotations

import argparse
import sys

import pytest

from wanworker.cli import serve

SERVER = [sys.executable, "-m", "wanworker.rest"]


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([], []),
        (["--port", "9000"], ["-u", "PORT", "REST_PORT=9000"]),
        (["--host", "0.0.0.0"], ["REST_HOST=0.0.0.0"]),
        (["--host", "::1", "--port", "80"], ["-u", "PORT", "REST_PORT=80", "REST_HOST=::1"]),
    ],
)
def test_the_arguments_outweigh_the_variables(argv: list[str], expected: list[str]) -> None:
    became: list[tuple[str, list[str]]] = []
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)

    serve.run(parser.parse_args(argv), become=lambda program, argv: became.append((program, argv)))

    assert [("env", ["env", *expected, *SERVER])] == became


@pytest.mark.parametrize("port", ["0", "65536", "http"])
def test_a_port_that_is_none_is_refused(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)

    with pytest.raises(SystemExit):
        parser.parse_args(["--port", port])

    assert port in capsys.readouterr().err
