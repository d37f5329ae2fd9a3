"""Keep on the volume what somebody has to be told of a job's end, until that was done."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from wanworker.jobs._owner import Owner
from wanworker.jobs.model import is_request_id
from wanworker.jobs.store._pulse import Observer, OwnPulse
from wanworker.jobs.store.disk import Disk

#: The first line of a file has the URL and who keeps it, and is read alone where possible: an end may have 20 MB.
_HEAD_BYTES = 16 * 1024


class KeptEnds:
    """
    Keep one file for each job in `ends` below *root*: a URL, and what it has to be told, empty while the job runs.

    Both may be secrets, so only the owner of the folder can read it. A file belongs to the process that wrote it last.
    While that lives, nobody else touches it. Methods are short and blocking; they raise DiskFull and EngineUnavailable.
    """

    def __init__(self, root: Path, pulse: OwnPulse, observer: Observer, owner: Callable[[], Owner]) -> None:
        self._disk = Disk(root / "ends", volume=root.parent, is_private=True)
        self._pulse = pulse
        self._observer = observer
        self._owner = owner
        self._held: dict[str, Owner] = {}

    def put(self, job_id: str, url: str, end: bytes = b"") -> None:
        """Keep that *url* has to be told *end*, or (empty) that it has to hear of the end of a job that runs."""
        owner = self._held.get(job_id) or self._owner()
        self._pulse.hold(owner)
        self._held[job_id] = owner
        head = json.dumps({**asdict(owner), "url": url}).encode()
        self._disk.replace(f"{job_id}.json", b"\n".join((head, end)))

    def get(self, job_id: str) -> tuple[str, bytes] | None:
        """Return the URL and the end, or None if there is nothing or it cannot be read."""
        head, _, end = (self._disk.read(f"{job_id}.json") or b"").partition(b"\n")
        try:
            url = json.loads(head)["url"]
        except (ValueError, KeyError, TypeError):
            return None
        return (url, end) if isinstance(url, str) else None

    def left(self) -> list[str]:
        """Return the ids of the jobs whose process has died, or that an earlier owner in this process left."""
        self._disk.remove_leftovers()
        since, own = self._observer.elapsed(), self._owner().process
        ids = [name.removesuffix(".json") for name in self._disk.sizes(".") if name.endswith(".json")]
        found = []
        for job_id in ids:
            if job_id in self._held or not is_request_id(job_id):
                continue
            owner = self._owner_of(f"{job_id}.json")
            if owner is None or owner.process == own or self._observer.is_gone(owner, since=since):
                found.append(job_id)
        return found

    def remove(self, job_id: str) -> None:
        """Forget the end of a job that was told."""
        self._disk.remove(f"{job_id}.json")
        self._let_go(job_id)

    def close(self) -> None:
        """Leave what is kept to the next process."""
        for job_id in list(self._held):
            self._let_go(job_id)

    def _let_go(self, job_id: str) -> None:
        owner = self._held.pop(job_id, None)
        if owner is not None:
            self._pulse.let_go(owner)

    def _owner_of(self, name: str) -> Owner | None:
        head, newline, _ = (self._disk.read(name, 0, _HEAD_BYTES) or b"").partition(b"\n")
        return Owner.named_in(head if newline else (self._disk.read(name) or b"").partition(b"\n")[0])
