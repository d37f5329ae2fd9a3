"""What the commands for jobs elsewhere have in common: where the jobs are, and how a file is written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import typer

from wanworker.cli._base import CommandFailed, misused
from wanworker.cli.terminal.files import check_output
from wanworker.cli.terminal.standard_streams import STANDARD, copy_to_stdout, refuse_terminal

if TYPE_CHECKING:
    from pydantic import SecretStr

    from wanworker.client import AsyncClient, JobStatus, Result
    from wanworker.settings import Settings

_RUNPOD = "api.runpod.ai"

#: How long a server may be away: while a job is followed, and while a person waits for a word about one. RunPod is
#: there, and may be busy for a while.
_PATIENCE_S = 300.0
_BRIEF_S = 5.0
_BRIEF_RUNPOD_S = 60.0

_HERE = frozenset({"127.0.0.1", "::1", "localhost"})

ENDPOINT = typer.Option(
    "--endpoint", metavar="ID|URL", help="The RunPod endpoint that has the job. Its key comes from RUNPOD_API_KEY."
)
SERVER = typer.Option(
    "--url",
    metavar="URL",
    help="The REST server that has the job, such as http://127.0.0.1:8189. Its key comes from WAN_API_KEY. By default "
    "it is the server on this machine.",
)
JOB_ID = typer.Argument(metavar="ID", help="The id of the job, as submit prints it.", show_default=False)
OUTPUT = typer.Option(
    "-o",
    "--output",
    metavar="FILE",
    help="Save the video as FILE, or write it to stdout with -. By default it gets the name that the server gives it.",
)
THUMBNAIL = typer.Option("--thumbnail", help="Save the first frame too, as a JPEG beside the video.")
FORCE = typer.Option("--force", help="Replace FILE if it exists.")
JSON = typer.Option("--json", help="Print the answer as JSON on stdout, and nothing else there.")


@asynccontextmanager
async def client_of(
    endpoint: str | None, url: str | None, settings: Settings, *, patience_s: float = _PATIENCE_S
) -> AsyncIterator[AsyncClient]:
    """
    Yield the client of the target that was named, or of the server on this machine. Raises CommandFailed.

    A server of ours also speaks RunPod's API; its key is WAN_API_KEY. An error about the key names its variable.
    """
    from wanworker.client import AsyncClient, Unauthorised

    key_name = "WAN_API_KEY" if endpoint is None else _key_name(endpoint, settings)
    key = _text(settings.api_key if key_name == "WAN_API_KEY" else settings.runpod_api_key)
    if endpoint is not None and "://" not in endpoint and endpoint.isalnum() and not key:
        hint = "Make a key in RunPod's console, and set RUNPOD_API_KEY to it."
        raise misused("RUNPOD_API_KEY is not set.", hint=hint)
    place = "" if endpoint is not None else url or _local_server(settings)
    async with AsyncClient(
        place, endpoint=endpoint or "", key=key, allow_hosts=settings.allow_hosts, patience_s=patience_s
    ) as client:
        try:
            yield client
        except Unauthorised as error:
            raise misused(str(error), hint=f"Set {key_name} to the key of this server.") from error


@asynccontextmanager
async def brief_client_of(endpoint: str | None, url: str | None, settings: Settings) -> AsyncIterator[AsyncClient]:
    """Yield such a client for one question, to which a person waits for the answer. Raises CommandFailed."""
    from wanworker.client.errors import Unreachable

    try:
        patience_s = _BRIEF_S if endpoint is None or _host(endpoint) in _HERE else _BRIEF_RUNPOD_S
        async with client_of(endpoint, url, settings, patience_s=patience_s) as client:
            yield client
    except Unreachable as error:
        hint = "" if endpoint is not None else "Name the server with --url, or start one here with `wanworker serve`."
        raise CommandFailed(str(error), hint=hint, code=error.code) from error


def _host(endpoint: str) -> str:
    return (urlsplit(endpoint).hostname or "") if "://" in endpoint else _RUNPOD


def _key_name(endpoint: str, settings: Settings) -> str:
    """Return whose key goes to *endpoint*. The key of a RunPod account leaves this machine for RunPod alone."""
    host = _host(endpoint)
    is_here = host in _HERE and not settings.api_key
    return "RUNPOD_API_KEY" if host == _RUNPOD or host.endswith(f".{_RUNPOD}") or is_here else "WAN_API_KEY"


def _local_server(settings: Settings) -> str:
    """Return the address of the REST server on this machine. Pure."""
    return f"http://127.0.0.1:{settings.port or settings.rest_port}"


def check_target(endpoint: str | None, url: str | None) -> None:
    """Raise CommandFailed if two targets were given."""
    if endpoint is not None and url is not None:
        hint = "A job is on a RunPod endpoint or on a REST server."
        raise misused("Give one of --endpoint and --url.", hint=hint)


def check_place(output: Path | None, *, force: bool, as_json: bool) -> None:
    """Raise CommandFailed, before anything is asked, if the video could not be written to *output*."""
    if output == STANDARD:
        refuse_terminal(as_json=as_json)
    elif output is not None:
        check_output(output, force=force)


def check_thumbnail(output: Path | None, *, is_detached: bool = False) -> None:
    """Raise CommandFailed if no video is saved that a picture could lie beside."""
    if output == STANDARD or is_detached:
        hint = "Save the video to a file, or leave --thumbnail out."
        raise misused("--thumbnail saves a picture beside the video, so it needs a video that is saved.", hint=hint)


async def save(
    client: AsyncClient, status: JobStatus, output: Path | None, *, force: bool, thumbnails: bool = False
) -> Result:
    """
    Save the files of a finished job: as *output*, here under their own names (None), or to stdout. Raises ClientError.

    Of several files, stdout gets the first. First frames that are in the answer are saved even without *thumbnails*.
    Raises CommandFailed if there is no file for *output*.
    """
    if output == STANDARD:
        result = await client.save(status)
    else:
        thumbnails = thumbnails or any(picture.data for picture in status.thumbnails)
        result = await client.save(status, output or Path(), force=force, thumbnails=thumbnails)
    if output is not None and not result.paths and not result.contents:
        raise _missing(result, "Nothing was written to stdout" if output == STANDARD else f"{output} was not written")
    if output == STANDARD:
        await asyncio.to_thread(copy_to_stdout, result.contents[0])
    return result


def _missing(result: Result, what: str) -> CommandFailed:
    hint = f"The file is on the worker: {result.left_there[0]}" if result.left_there else ""
    if result.uploaded:
        hint = "The worker put it at the URL that the job named."
    text = f"{what}, because the answer contains no file."
    return CommandFailed(text, hint=hint, code="NO_FILE", request_id=result.job_id)


def _text(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret else ""


def shown(status: JobStatus) -> dict[str, Any]:
    """Return *status* as the progress bar and programs take it. Pure."""
    names = ("stage", "progress", "step", "steps", "detail", "eta_s")
    values = {name: getattr(status, name) for name in names}
    return {name: value for name, value in values.items() if value is not None and value != ""}
