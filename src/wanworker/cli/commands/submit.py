"""`wanworker submit`: send a job to a RunPod endpoint or to a REST server, and fetch its files."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wanworker.cli._base import EXIT_FAILED, Command, misused, read_settings
from wanworker.cli._render_options import PROMPT, VideoOptions
from wanworker.cli.remote.target import JobSnapshot, Target
from wanworker.cli.terminal.console import complain, say, say_json
from wanworker.cli.terminal.files import check_output
from wanworker.cli.terminal.live_progress import LiveProgress
from wanworker.cli.terminal.signals import run_stoppable

if TYPE_CHECKING:
    import aiohttp
    from pydantic import SecretStr

    from wanworker.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitOptions(VideoOptions):
    """Hold the arguments of `submit`."""

    prompt: Annotated[str | None, PROMPT] = None
    endpoint: Annotated[
        str | None,
        typer.Option(
            "--endpoint",
            metavar="ID|URL",
            help="The RunPod endpoint that gets the job. Its key comes from RUNPOD_API_KEY.",
        ),
    ] = None
    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            metavar="URL",
            help="The REST server that gets the job, such as http://127.0.0.1:8189. Its key comes from WAN_API_KEY.",
        ),
    ] = None
    input: Annotated[
        Path | None,
        typer.Option(
            "--input",
            metavar="FILE.json",
            help="A file with a whole job, as RunPod or /generate takes it. Other options replace its fields.",
        ),
    ] = None
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Save the video as FILE. By default it gets the name that the server gives it.",
        ),
    ] = None
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it exists.")] = False
    json: Annotated[
        bool, typer.Option("--json", help="Print the answer as JSON on stdout, and nothing else there.")
    ] = False


def run(args: SubmitOptions) -> int:
    """Send the job, wait for it, save its files, and return the exit code. Raises CommandFailed, WorkerError."""
    from wanworker.cli.remote.job_body import job_body, rest_body

    if (args.endpoint is None) == (args.url is None):
        raise misused("Give one of --endpoint and --url.", hint="A job goes to a RunPod endpoint or to a REST server.")
    if args.prompt is None and args.input is None:
        raise misused("There is nothing to submit.", hint="Give a prompt, or a whole job with --input.")
    if args.output:
        check_output(args.output, force=args.force)
    settings = read_settings()
    to_body = job_body if args.url is None else rest_body
    body = to_body(args, args.prompt, args.input)
    return run_stoppable(lambda: _submit(args, body, settings))


async def _submit(args: SubmitOptions, body: Mapping[str, Any], settings: Settings) -> int:
    import aiohttp

    from wanworker.cli.remote.follow import follow, save_all

    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), trust_env=True) as session:
        target = _target(args, session, settings)
        with LiveProgress(sys.stderr) as live:
            job_id, look = await follow(target, body, live)
            live.show({"stage": "saving", "progress": 100})
            files = await save_all(target, job_id, look.pieces, args.output, force=args.force)
    _show(job_id, look, files, as_json=args.json)
    if args.output and not files:
        complain("failed", f"{args.output} was not written, because the answer contains no file.")
        return EXIT_FAILED
    return 0


def _target(args: SubmitOptions, session: aiohttp.ClientSession, settings: Settings) -> Target:
    if args.endpoint is not None:
        return _endpoint(args.endpoint, session, settings)
    return _server(args.url or "", session, settings)


def _endpoint(name: str, session: aiohttp.ClientSession, settings: Settings) -> Target:
    """
    Return the RunPod endpoint with this id, or the one at this address. Raises CommandFailed.

    A server of ours also speaks RunPod's API; its key is WAN_API_KEY.
    """
    from wanworker.cli.remote.http import Remote, base_url
    from wanworker.cli.remote.runpod_endpoint import RUNPOD, Endpoint

    if "://" in name:
        base = base_url(name)
    elif name.isalnum():
        base = RUNPOD / name
    else:
        raise misused(
            f"{name!r} is not the id of an endpoint.", hint="RunPod's console shows the id, such as abc123def456."
        )
    key, key_name = _text(settings.runpod_api_key), "RUNPOD_API_KEY"
    if base.host != RUNPOD.host and settings.api_key:
        key, key_name = _text(settings.api_key), "WAN_API_KEY"
    elif base.host == RUNPOD.host and not key:
        raise misused(
            "RUNPOD_API_KEY is not set.", hint="Make a key in RunPod's console, and set RUNPOD_API_KEY to it."
        )
    remote = Remote(session, base, key=key, key_name=key_name)
    return Endpoint(remote, allow_hosts=(*settings.allow_hosts, base.host or ""))


def _server(url: str, session: aiohttp.ClientSession, settings: Settings) -> Target:
    from wanworker.cli.remote.http import Remote, base_url
    from wanworker.cli.remote.rest_server import Server

    return Server(Remote(session, base_url(url), key=_text(settings.api_key), key_name="WAN_API_KEY"))


def _text(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret else ""


def _show(job_id: str, look: JobSnapshot, files: list[Path], *, as_json: bool) -> None:
    answer = _without_data(look.answer)
    if as_json:
        say_json({"job_id": job_id, "files": [str(file) for file in files], "answer": answer})
        return
    if not look.pieces:
        say_json(answer)
        return
    for line in answer.get("warnings") or ():
        say("note", str(line))
    for file in files:
        say("saved", f"{file}  ({file.stat().st_size:,} bytes)")
    for piece in look.pieces:
        if piece.path and not (piece.data or piece.url):
            say("on the worker", f"{piece.path}  (the job asked for no video in the answer, or the video did not fit)")
    say("job", job_id)


def _without_data(value: Any) -> Any:
    """Return *value* without the files in it, which are already saved. Pure."""
    if isinstance(value, Mapping):
        return {key: _without_data(item) for key, item in value.items() if key != "data"}
    return [_without_data(item) for item in value] if isinstance(value, list) else value


COMMAND = Command(
    "submit", "Send a job to a RunPod endpoint or to a REST server, and save its video.", SubmitOptions, run
)
