"""Identify the owner of an attempt, a process on a host, and tell whether it still runs or is waited for."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Owner:
    """
    Name one attempt's process, so that another process can tell whether it still lives.

    `token` is new for every attempt. `host` is the host's name and boot id, because two machines may share a name, and
    in every container numbering starts at 1. `process_start` is in clock ticks since boot, because the system uses
    process ids again; it is empty where the system does not tell (macOS).
    """

    token: str
    host: str
    pid_namespace: str
    pid: int
    process_start: str

    @classmethod
    def of_this_process(cls, proc: Path = _PROC) -> Owner:
        """
        Describe the calling process, with a fresh token.

        The store calls this at each claim and keeps nothing between claims. FlashBoot may freeze a process and wake
        copies of it elsewhere, where an identity from import time would be another machine's.
        """
        pid = os.getpid()
        return cls(secrets.token_hex(8), _host(proc), _pid_namespace(proc), pid, _process_start(pid, proc))

    @classmethod
    def named_in(cls, mark: bytes | None) -> Owner | None:
        """Read what `to_json` wrote, other keys beside it or not. Return None if *mark* names nobody, or half."""
        try:
            told = json.loads(mark or b"")
            owner = cls(**{name: told[name] for name in cls.__dataclass_fields__})
        except (ValueError, KeyError, TypeError):
            return None
        return owner if isinstance(owner.pid, int) else None

    def to_json(self) -> bytes:
        """Name this owner in a mark."""
        return json.dumps(asdict(self)).encode()

    @property
    def process(self) -> str:
        """Return the name of the process, the same for all its attempts: 32 hex digits, safe as a file name."""
        told = "\n".join((self.host, self.pid_namespace, str(self.pid), self.process_start))
        return hashlib.sha256(told.encode("utf-8", "replace")).hexdigest()[:32]

    def lives(self, proc: Path = _PROC) -> bool | None:
        """
        Ask the system whether this process runs. Return None where the system cannot tell.

        It cannot tell for a process of another host or pid namespace, nor for a pid in use where the system does not
        say when its process started.
        """
        if (self.host, self.pid_namespace) != (_host(proc), _pid_namespace(proc)):
            return None
        if not _answers_signals(self.pid):
            return False
        start = _process_start(self.pid, proc)
        return start == self.process_start if self.process_start and start else None


def longest_wait_s(mark: bytes | None, *, named_s: float) -> float:
    """
    Return for how many seconds the next step of who made *mark* is waited for: 0 if it died, else *named_s*.

    A mark that names nobody gets 5 s: it is of a process that died between making and naming it, or of a release whose
    marks were empty.
    """
    owner = Owner.named_in(mark)
    if owner is None:
        return 5.0
    return 0.0 if owner.lives() is False else named_s


def _host(proc: Path) -> str:
    return f"{platform.node()} {_text(proc / 'sys/kernel/random/boot_id')}".strip()


def _pid_namespace(proc: Path) -> str:
    try:
        return str((proc / "self/ns/pid").readlink())
    except OSError:
        return ""


def _process_start(pid: int, proc: Path) -> str:
    """Return field 22 of /proc/<pid>/stat (proc_pid_stat(5)), `ended` for a zombie, empty where there is no /proc."""
    # The name in parentheses may itself hold spaces and parentheses, so the fields are counted after the last one.
    fields = _text(proc / str(pid) / "stat").rpartition(")")[2].split()
    if len(fields) < 20:
        return ""
    return "ended" if fields[0] in {"Z", "X"} else fields[19]


def _answers_signals(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
