"""List the files of a Hugging Face repository and read them. The only module that knows huggingface_hub."""

from __future__ import annotations

import contextlib
import errno
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

#: Called with the number of bytes that came since the last call; negative when they were thrown away.
Count = Callable[[int], None]

#: Failures of this machine and not of the hub: its disk is full or broken, the folder is not ours to write.
_LOCAL = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG}


class FetchFailed(Exception):
    """The hub refused, or what came from it is not what it says; the text names the file and what to do."""


@dataclass(frozen=True, slots=True)
class HubFile:
    """
    One file of a repository at one commit.

    `digest` is what its bytes must hash to: the sha256 of a large file, else git's blob id (a sha1).
    """

    repository: str
    commit: str
    path: str
    size_bytes: int
    digest: str


class Hub:
    """One hub: its address, and the token that it is sent (none: what `hf auth login` left on this machine)."""

    def __init__(self, endpoint: str, *, token: str | None = None) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._token = token

    def files(self, repository: str) -> Mapping[str, HubFile]:
        """Return the files of *repository* at its newest commit, by path. Raises FetchFailed."""
        from huggingface_hub import HfApi

        api = HfApi(endpoint=self._endpoint, token=self._token, library_name="wanworker")
        with _translated(f"The hub at {self._endpoint} did not list {repository}"):
            info = api.model_info(repository, files_metadata=True)
        commit, siblings = info.sha or "main", info.siblings or []
        found = (_file(repository, commit, sibling) for sibling in siblings)
        return {file.path: file for file in found}

    def download(self, file: HubFile, stream: BinaryIO, *, from_byte: int, count: Count) -> None:
        """
        Append to *stream* the bytes of *file* from *from_byte* on. Raises FetchFailed, and OSError for a full disk.

        A connection that breaks is taken up again where it broke, five times without a byte between; what has come
        by then stays in *stream*. The bytes are asked of plain HTTP and not of xet, which cannot go on from a part.
        """
        from huggingface_hub import get_hf_file_metadata, get_token, hf_hub_url
        from huggingface_hub.file_download import http_get

        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its lines would run through the bar
        url = hf_hub_url(file.repository, file.path, revision=file.commit, endpoint=self._endpoint)
        with _translated(f"{file.path} of {file.repository} did not come"):
            where = get_hf_file_metadata(url, token=self._token, endpoint=self._endpoint, library_name="wanworker")
            token = self._token or get_token()
            is_at_hub = urlsplit(where.location).netloc == urlsplit(url).netloc  # else a signed address: no token there
            http_get(
                where.location,
                stream,
                resume_size=from_byte,
                headers={"authorization": f"Bearer {token}"} if token and is_at_hub else {},
                expected_size=file.size_bytes,
                tqdm_class=cast(Any, _counting(count)),
            )


def _file(repository: str, commit: str, sibling: Any) -> HubFile:
    path, size, blob = sibling.rfilename, sibling.size, sibling.blob_id
    if size is None or not (sibling.lfs or blob):
        raise FetchFailed(f"The hub says neither size nor hash of {path} in {repository}: no file could be checked.")
    parts = PurePosixPath(path).parts
    if not parts or ".." in parts or path.startswith("/") or "\\" in path or "\0" in path:
        raise FetchFailed(f"{repository} lists a file that would lie outside its folder: {path!r}.")
    return HubFile(repository, commit, path, size, sibling.lfs.sha256 if sibling.lfs else blob)


@contextlib.contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _LOCAL:
            raise
        # All else: huggingface_hub changes its transport (requests, httpx, httpx2), and with it what is raised.
        raise FetchFailed(f"{what}: {_said(error)}.") from error


def _said(error: Exception) -> str:
    """Return the first line of *error* that says something, without the full stop at its end."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".")


def _counting(count: Count) -> type:
    """Return a class that huggingface_hub can use for its progress bar, and that only counts."""

    class Counting:
        def __init__(self, **_: Any) -> None:
            """Take what a bar is told; none of it is shown."""

        def __enter__(self) -> Counting:
            return self

        def __exit__(self, *_: object) -> None:
            """Close nothing."""

        def update(self, number: float | None = 1) -> None:
            count(int(number or 0))

    return Counting
