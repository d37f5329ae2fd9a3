"""Keep the requests of jobs that have not ended on the volume, so that a restart can resume them."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wanworker.errors import DiskFull, EngineUnavailable
from wanworker.jobs.model import is_request_id
from wanworker.jobs.store.disk import LEFTOVER_AFTER_S, Disk
from wanworker.jobs.store.file_calls import FileCalls

_log = logging.getLogger(__name__)

#: What follows the request id and a dot in the name of an input: complete, or half written under the image's name.
_INPUT = re.compile(r"film|sound|image[.-].+")


class PendingRequests:
    """
    Keep one JSON file for each job in *folder*, and the job's picture, driving video and sound beside it.

    A request may hold secrets that a record must not hold, such as a webhook's address or an input's signed URL. So
    only the owner of the folder can read it, and it is removed as soon as its job needs nothing more. Methods are short
    and blocking; they raise DiskFull and EngineUnavailable.
    """

    def __init__(self, folder: Path, *, files: FileCalls | None = None) -> None:
        self.folder = folder
        self._disk = Disk(folder, volume=folder.parent.parent, is_private=True, files=files)

    def make_folder(self) -> None:
        """Make the folder, for a job's picture that is written before its request."""
        self._disk.make_folder()

    def put(self, request_id: str, request: Mapping[str, Any]) -> None:
        """Keep *request* (plain JSON values, with its `fields`) under its job's id."""
        self._disk.replace(f"{request_id}.json", json.dumps(dict(request)).encode())

    def get(self, request_id: str) -> dict[str, Any] | None:
        """Return what was kept, or None if there is nothing or it cannot be read."""
        data = self._disk.read(f"{request_id}.json")
        if data is None:
            return None
        try:
            request = json.loads(data)
        except (ValueError, RecursionError) as error:
            _log.warning("the kept request of job %s is ignored: %s", request_id, error)
            return None
        if isinstance(request, dict) and isinstance(request.get("fields"), dict):
            return request
        _log.warning("the kept request of job %s is ignored: it has no fields", request_id)
        return None

    def has(self, request_id: str) -> bool:
        """Say whether the request of this job is kept."""
        return self._disk.size(f"{request_id}.json") > 0

    def ids(self) -> list[str]:
        """Return the ids of all kept requests, in no order."""
        stems = (name.removesuffix(".json") for name in self._disk.sizes(".") if name.endswith(".json"))
        return [stem for stem in stems if is_request_id(stem)]

    def is_left(self, request_id: str) -> bool:
        """Say whether a request without a record is so old that the process that kept it must have died."""
        return self._disk.ages_s(".").get(f"{request_id}.json", 0.0) > LEFTOVER_AFTER_S

    def remove_leftovers(self) -> None:
        """
        Remove what processes left that were killed between two steps: files half written, and inputs whose request
        never came to be kept. What cannot be removed is logged.
        """
        try:
            self._disk.remove_leftovers()
            ages_s = self._disk.ages_s(".")
            for name, age_s in ages_s.items():
                request_id, _, ending = name.partition(".")
                is_input = is_request_id(request_id) and _INPUT.fullmatch(ending) is not None
                if is_input and age_s > LEFTOVER_AFTER_S and f"{request_id}.json" not in ages_s:
                    self._disk.remove(name)
        except (DiskFull, EngineUnavailable) as error:
            _log.warning("what killed processes left of requests could not be removed: %s", error)

    def image_stem(self, request_id: str) -> str:
        """Return the name, without its ending, of the job's picture in the folder."""
        return f"{request_id}.image"

    def image_path(self, request_id: str) -> Path:
        """Return the path of the job's picture."""
        return self.folder / f"{self.image_stem(request_id)}.png"

    def film_path(self, request_id: str) -> Path:
        """Return the path of the job's driving video. Its name has no ending: its content tells what it is."""
        return self.folder / f"{request_id}.film"

    def sound_path(self, request_id: str) -> Path:
        """Return the path of the job's sound, without an ending too."""
        return self.folder / f"{request_id}.sound"

    def remove_inputs(self, request_id: str) -> None:
        """Remove the job's picture, its driving video and its sound after its render is over."""
        for path in (self.image_path, self.film_path, self.sound_path):
            self._disk.remove(path(request_id).name)

    def remove(self, request_id: str) -> None:
        """Remove everything that is kept of a job."""
        self.remove_inputs(request_id)
        self._disk.remove(f"{request_id}.json")
