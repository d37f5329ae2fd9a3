"""The edges of a download without a network: names that resolve as a test says, sockets that note where they go."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping, Sequence


class Names:
    """A resolver that answers from a script; the last answer to a name is repeated. It counts."""

    def __init__(self, answers: Mapping[str, Sequence[Sequence[str]]]) -> None:
        self._answers = {name: list(script) for name, script in answers.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        if host not in self._answers:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        script = self._answers[host]
        return script.pop(0) if len(script) > 1 else script[0]


class Sockets:
    """Note every address that is about to be connected to; connect to none of them that is not loopback."""

    def __init__(self) -> None:
        self.opened: list[str] = []

    def __call__(self, info: tuple[int, int, int, str, tuple[object, ...]]) -> socket.socket:
        address = str(info[4][0])
        self.opened.append(address)
        if not ipaddress.ip_address(address).is_loopback:
            raise OSError(101, "Network is unreachable")
        return socket.socket(family=info[0], type=info[1], proto=info[2])
