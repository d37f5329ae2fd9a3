"""Training in several processes: two real ones that meet over gloo, and one alone."""

import multiprocessing
import os
import socket
from multiprocessing.connection import Connection

import torch

from train_mini.parallel import Ranks

WAIT_S = 60


def take_part(rank: int, port: int, told: Connection) -> None:
    """Be one of two processes, as torchrun would start it."""
    os.environ |= {
        "TORCHELASTIC_RUN_ID": "test", "RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo",
    }  # fmt: skip
    ranks = Ranks()
    matrix, line = torch.full((2, 3), float(rank)), torch.arange(4.0) * (rank + 1)
    ranks.average(each for each in (matrix, line.requires_grad_()))
    ranks.wait()
    ranks.close()
    told.send((ranks.count, ranks.rank, ranks.is_first, matrix.tolist(), line.tolist()))


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_one_process_alone_needs_no_group() -> None:
    ranks, part = Ranks(), torch.ones(3)
    ranks.average([part])
    ranks.wait()
    ranks.close()

    assert (1, 0, True, [1.0] * 3) == (ranks.count, ranks.rank, ranks.is_first, part.tolist())


def test_two_processes_have_the_mean_of_both_after_one_exchange() -> None:
    # A fork costs no second import of torch.
    context = multiprocessing.get_context("fork")
    port = free_port()
    ways = [context.Pipe(duplex=False) for _ in range(2)]
    processes = [
        context.Process(target=take_part, args=(rank, port, tell), daemon=True) for rank, (_, tell) in enumerate(ways)
    ]
    try:
        for each in processes:
            each.start()
        told = [hear.recv() for hear, _ in ways if hear.poll(WAIT_S)]
    finally:
        for each in processes:
            each.join(5)
            each.kill()
    mean = ([[0.5] * 3] * 2, [0.0, 1.5, 3.0, 4.5])

    assert [(2, 0, True, *mean), (2, 1, False, *mean)] == told
