"""Remember which remote job renders which request, so that a restarted server asks for it and sends no other."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

log = logging.getLogger(__name__)

#: RunPod deletes a job after this time at the latest.
_KEPT_S = 7 * 86_400.0


def notes_folder(jobs_dir: Path) -> Path:
    """Return the folder of the notes, in that of the job records."""
    return jobs_dir / "remote"


@dataclass(frozen=True, slots=True)
class RemoteJob:
    """
    Hold where a render is: the endpoint, RunPod's id of the job, and the fingerprint of what was asked for.

    Before the job is sent, the endpoint and id are empty. `links` are the URLs of the inputs in the bucket, by their
    fields. They are secrets: the file is its owner's alone.
    """

    endpoint: str
    job_id: str
    fingerprint: str
    links: Mapping[str, str] = field(default_factory=dict, repr=False)


class RemoteJobs:
    """
    Keep one small file for each render in *folder*, by the render's name. Methods are short and blocking.

    A file that cannot be written costs no job: then a restart would send that job again.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, name: str) -> RemoteJob | None:
        """Return what is known of the render *name*, or None."""
        try:
            return RemoteJob(**json.loads(self._path(name).read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            log.warning("the note about the remote job of %s is ignored: %s", name, error)
            return None

    def put(self, name: str, remote: RemoteJob) -> None:
        """Keep *remote*, in place of what was known of *name*."""
        part = self._path(f".{name}.{os.getpid()}")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            part.touch(mode=0o600)
            part.write_text(json.dumps(asdict(remote)), encoding="utf-8")
            part.replace(self._path(name))
        except OSError as error:
            log.warning("the remote job of %s was not noted, so a restart would send it again: %s", name, error)

    def remove(self, name: str) -> None:
        """Forget the render."""
        with contextlib.suppress(OSError):
            self._path(name).unlink(missing_ok=True)

    def knows(self, request_id: str) -> bool:
        """Say whether a render of the job *request_id* is, or was, somewhere else. One of several outputs counts."""
        with contextlib.suppress(OSError):
            return any(self._folder.glob(f"{request_id}.json")) or any(self._folder.glob(f"{request_id}.[0-9].json"))
        return False

    def prune(self, now: float | None = None) -> None:
        """Remove the notes that are older than any job of RunPod's."""
        oldest = (time.time() if now is None else now) - _KEPT_S
        with contextlib.suppress(OSError):
            for path in self._folder.glob("*.json"):
                if path.stat().st_mtime < oldest:
                    path.unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.json"
