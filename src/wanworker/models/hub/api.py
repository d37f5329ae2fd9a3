"""List the files of a Hugging Face repository and read them. The only module that knows huggingface_hub."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import PurePosixPath
from typing import Any

#: The waits, in seconds, before a block is requested again after its connection broke.
_RETRIES, _PAUSE_S = 5, 1.0

_PIECE_BYTES = 1024**2


class FetchFailed(Exception):
    """The hub refused, or sent something else than it promised. The text names the file and says what to do."""


class HubMissing(FetchFailed):
    """This Python has no huggingface_hub, so no repetition helps."""


class _ConnectionBroke(FetchFailed):
    """The hub gave no answer, or only part of one."""


@dataclass(frozen=True, slots=True)
class HubFile:
    """
    Describe one file of a repository at one commit.

    `digest` is the expected hash of its bytes: the sha256 of a large file, else git's blob id (a sha1).
    """

    repository: str
    commit: str
    path: str
    size_bytes: int
    digest: str


class Hub:
    """
    Read from one hub: its address, and the token to send (None: the one that `hf auth login` left on this machine).

    *pause* waits a number of seconds before a block is requested again.
    """

    def __init__(self, endpoint: str, *, token: str | None = None, pause: Callable[[float], None] = time.sleep) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._token = token
        self._pause = pause

    def files(self, repository: str) -> Mapping[str, HubFile]:
        """Return the files of *repository* at its newest commit, by path. Raises FetchFailed."""
        try:
            from huggingface_hub import HfApi
        except ModuleNotFoundError as error:  # the door's image, and requirements-door.lock, go without it
            text = "huggingface_hub is not installed in this Python. requirements.lock has it, the door's image not."
            raise HubMissing(text) from error

        api = HfApi(endpoint=self._endpoint, token=self._token, library_name="wanworker")
        with self._translated(f"The hub at {self._endpoint} did not list {repository}", repository):
            info = api.model_info(repository, files_metadata=True)
        commit, siblings = info.sha or "main", info.siblings or []
        found = (_file(repository, commit, sibling) for sibling in siblings)
        return {file.path: file for file in found}

    def read(self, file: HubFile, start: int, end: int) -> bytes:
        """
        Return the bytes of *file* from *start* up to *end*. Raises FetchFailed.

        A broken connection is retried up to five times. A busy hub is retried after the time that it asks for.
        """
        for _ in range(_RETRIES):
            with contextlib.suppress(_ConnectionBroke):
                return self._ask(file, start, end)
            self._pause(_PAUSE_S)
        return self._ask(file, start, end)

    def _ask(self, file: HubFile, start: int, end: int) -> bytes:
        from huggingface_hub import hf_hub_url
        from huggingface_hub.constants import HF_HUB_DOWNLOAD_TIMEOUT
        from huggingface_hub.utils import (  # type: ignore[attr-defined]  # they are in its __all__, built as it loads
            build_hf_headers,
            hf_raise_for_status,
            http_stream_backoff,
        )

        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its lines would break the progress bar
        headers = build_hf_headers(token=self._token, library_name="wanworker")
        is_part = (start, end) != (0, file.size_bytes)
        if is_part:
            headers |= {"range": f"bytes={start}-{end - 1}", "accept-encoding": "identity"}
        url = hf_hub_url(file.repository, file.path, revision=file.commit, endpoint=self._endpoint)
        options: dict[str, Any] = {"headers": headers, "timeout": HF_HUB_DOWNLOAD_TIMEOUT, "retry_on_exceptions": ()}
        with (
            self._translated(f"{file.path} of {file.repository} did not arrive", file.repository),
            http_stream_backoff("GET", url, **options) as response,
        ):
            hf_raise_for_status(response)
            if is_part and response.status_code != HTTPStatus.PARTIAL_CONTENT:
                raise FetchFailed(f"{file.path} is needed in parts, but {self._endpoint} sends only the whole file.")
            return _first(response.iter_bytes(_PIECE_BYTES), end - start)

    @contextlib.contextmanager
    def _translated(self, what: str, repository: str) -> Iterator[None]:
        from huggingface_hub.errors import GatedRepoError, HfHubHTTPError

        try:
            yield
        except FetchFailed:
            raise
        except GatedRepoError as error:
            raise FetchFailed(
                f"{what}: {repository} is gated. Accept its terms at {self._endpoint}/{repository}, and set HF_TOKEN "
                "to a token of that account."
            ) from error
        except Exception as error:  # versions of huggingface_hub use different HTTP libraries, whose errors differ
            kind = FetchFailed if isinstance(error, HfHubHTTPError) else _ConnectionBroke
            raise kind(f"{what}: {_said(error)}.") from error


def _first(pieces: Iterator[bytes], size_bytes: int) -> bytes:
    """
    Return the first *size_bytes* of *pieces*, or all if there are fewer. This bounds the memory; the hash finds the
    error.
    """
    data = bytearray()
    for piece in pieces:
        data += piece
        if len(data) >= size_bytes:
            break
    return bytes(data[:size_bytes])


def _file(repository: str, commit: str, sibling: Any) -> HubFile:
    path, size, blob = sibling.rfilename, sibling.size, sibling.blob_id
    if size is None or not (sibling.lfs or blob):
        raise FetchFailed(f"The hub gives no size or no hash for {path} in {repository}: it could not be checked.")
    parts = PurePosixPath(path).parts
    if not parts or ".." in parts or path.startswith("/") or "\\" in path or "\0" in path:
        raise FetchFailed(f"{repository} lists a file that would lie outside its folder: {path!r}.")
    return HubFile(repository, commit, path, size, sibling.lfs.sha256 if sibling.lfs else blob)


def _said(error: Exception) -> str:
    """Return the first line of *error* that is not empty, without the full stop at its end."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".")
