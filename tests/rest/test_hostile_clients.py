"""A real server process among clients that hold it up: it answers /ping, keeps its memory, and ends in time."""

import contextlib
import resource
import socket
import threading
import time

import pytest

from fakes.rest_process import RestProcess

MB = 1000**2
HALF = b"GET /ping HTTP/1.1\r\nHost: local"
BODY = (
    b"POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 40000000\r\n\r\n{"
)

#: What stays after any number of rounds: small freed blocks beside living ones, and what Python's own heap keeps.
KEPT_BY_MALLOC = 45 * MB

#: A server is stopped within uvicorn's grace (3 s), and what its own parts take, with room for a busy machine.
END_S = 10


@pytest.fixture
def many_files():
    """Let this process, the client, hold its connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4000)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def send(server, pieces):
    """Send *pieces* over one connection, as far as the server takes them, and return what it says."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                client.sendall(piece)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while more := client.recv(65536):
                answer += more
        return answer


def stall(server, count, sent_bytes):
    """
    Begin *count* bodies, send *sent_bytes* of each as far as the server takes them, and break them off.

    Return the memory of the server while it held them, in bytes.
    """
    with server.connections(count, BODY) as clients:
        for client in clients:
            client.settimeout(20)
            with contextlib.suppress(ConnectionError):
                client.sendall(b" " * sent_bytes)
        assert 200 == server.ping()
        return server.memory_bytes


def test_1100_half_requests_do_not_stop_ping(tmp_path, many_files):
    with RestProcess(tmp_path) as server:
        before = server.memory_bytes
        with server.connections(1100, HALF):
            assert 200 == server.ping()
            assert server.memory_bytes - before < 60 * MB
        assert 200 == server.ping()


def test_60_mb_of_headers_cost_no_memory(tmp_path):
    with RestProcess(tmp_path) as server:
        before = server.memory_bytes
        line = b"X: " + b"a" * 1_000_000 + b"\r\n"
        answers = []
        senders = [
            threading.Thread(target=lambda: answers.append(send(server, [HALF, b"\r\n", *[line] * 60])))
            for _ in range(4)
        ]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join(60)

        assert 4 == len(answers)
        assert server.memory_bytes - before < 40 * MB
        assert 200 == server.ping()


@pytest.mark.parametrize(("clients", "sent_bytes"), [(60, 30 * MB), (500, 450_000)])
def test_the_memory_of_stalled_bodies_is_bounded_and_comes_back(tmp_path, many_files, clients, sent_bytes):
    with RestProcess(tmp_path) as server:
        before = server.memory_bytes
        for _ in range(2):
            # What the server takes is 300 MB; the large bodies have 1,800 MB.
            assert stall(server, clients, sent_bytes) - before < 450 * MB
        give_up = time.monotonic() + 20
        while server.memory_bytes - before > KEPT_BY_MALLOC:
            assert time.monotonic() < give_up, f"{(server.memory_bytes - before) / MB:.0f} MB stay"
            time.sleep(0.1)


def test_sigterm_ends_a_server_whose_clients_stall(tmp_path):
    with RestProcess(tmp_path) as server, server.connections(20, HALF), server.connections(20, BODY):
        assert 200 == server.ping()
        assert server.stop() < END_S
        assert "Traceback" not in server.log_path.read_text()


def test_few_files_bound_the_connections_and_end_no_server(tmp_path):
    with RestProcess(tmp_path, files=280) as server:
        with server.connections(320, HALF):
            assert 200 == server.ping()
        assert 200 == server.ping()
        assert "Too many open files" not in server.log_path.read_text()
