"""`wanworker submit`: send a job to a RunPod endpoint or to a REST server, and fetch its files."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from wanworker.cli._base import Command, misused, read_settings
from wanworker.cli._render_options import PROMPT, VideoOptions, client_fields, option_of
from wanworker.cli.commands.remote._target import (
    FORCE,
    JSON,
    OUTPUT,
    check_place,
    check_target,
    check_thumbnail,
    client_of,
    save,
    shown,
)
from wanworker.cli.terminal.console import complain, say, say_json, without_data
from wanworker.cli.terminal.live_progress import LiveProgress
from wanworker.cli.terminal.signals import run_stoppable
from wanworker.cli.terminal.standard_streams import STANDARD, prompt_of, text_of_stdin
from wanworker.text.json_text import read_json
from wanworker.text.json_words import kind_of

if TYPE_CHECKING:
    from wanworker.client import ClientError, JobStatus, Result, VideoFields
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
            help="A file with a whole job, as RunPod or /generate takes it, or - for stdin. Other options replace its "
            "fields.",
        ),
    ] = None
    detach: Annotated[
        bool, typer.Option("--detach", help="Print the job's id once it is sent, and do not wait for the video.")
    ] = False
    output: Annotated[Path | None, OUTPUT] = None
    force: Annotated[bool, FORCE] = False
    json: Annotated[bool, JSON] = False


def run(args: SubmitOptions) -> int:
    """Send the job, wait for it, save its files, and return the exit code. Raises CommandFailed, ClientError."""
    check_target(args.endpoint, args.url)
    if args.endpoint is None and args.url is None:
        hint = "A job goes to a RunPod endpoint (--endpoint ID), or to a REST server (--url http://127.0.0.1:8189)."
        raise misused("Give one of --endpoint and --url.", hint=hint)
    if args.prompt is None and args.input is None:
        raise misused("There is nothing to submit.", hint="Give a prompt, or a whole job with --input.")
    if args.prompt == "-" and args.input == STANDARD:
        raise misused("The prompt and the job cannot both come from stdin.", hint="Name a file with --input.")
    if args.detach and args.output:
        raise misused("--detach does not wait for the video, so it takes no -o.", hint="wanworker download saves it.")
    if args.thumbnail:
        check_thumbnail(args.output, is_detached=args.detach)
    check_place(args.output, force=args.force, as_json=args.json)
    settings = read_settings()
    fields = client_fields(args)
    if args.url is not None:
        _check_for_rest(fields)
    job, prompt = _whole(args.input), prompt_of(args.prompt)
    if args.endpoint is not None and args.output is not None:
        _check_for_file(job, fields)
    return run_stoppable(lambda: _submit(args, prompt, job, fields, settings))


async def _submit(
    args: SubmitOptions, prompt: str | None, job: Mapping[str, Any] | None, fields: VideoFields, settings: Settings
) -> int:
    from wanworker.client.request import wants_thumbnail

    async with client_of(args.endpoint, args.url, settings) as client:
        if args.detach:
            warnings: list[str] = []
            job_id = await client.submit(prompt, job=job, on_warning=warnings.append, **fields)
            _show_sent(job_id, warnings, as_json=args.json)
            return 0
        with LiveProgress(sys.stderr) as live:

            def on_cancelled(job_id: str, failure: ClientError | None) -> None:
                live.end()
                _tell_cancelled(job_id, failure)

            status = await client.run(
                prompt,
                job=job,
                on_progress=lambda status: live.show(shown(status)),
                on_cancelled=on_cancelled,
                **fields,
            )
            live.show({"stage": "saving", "progress": 100})
            thumbnails = wants_thumbnail(job, fields)
            result = await save(client, status, args.output, force=args.force, thumbnails=thumbnails)
    show_result(status, result, as_json=args.json, out=sys.stderr if args.output == STANDARD else sys.stdout)
    return 0


def _check_for_file(job: Mapping[str, Any] | None, fields: VideoFields) -> None:
    """Raise CommandFailed if an endpoint's video would go to URLs instead of to a file here."""
    from wanworker.client.request import upload_urls

    if upload_urls(job, fields):
        hint = "Leave -o out, or the URL. A video that its URL does not take is saved here under its own name."
        text = "The video goes to --output-upload-url and not into the endpoint's answer, so there is nothing for -o."
        raise misused(text, hint=hint)


def _check_for_rest(fields: VideoFields) -> None:
    from wanworker.client.request import unsupported_by_rest

    if strange := [option_of(name) for name in unsupported_by_rest(fields)]:
        raise misused(
            f"A REST server does not take {', '.join(sorted(strange))}.",
            hint="It renders with its own model. A RunPod endpoint takes every option.",
        )


def _whole(path: Path | None) -> dict[str, Any] | None:
    """Return the object in the file of --input. Raises CommandFailed."""
    if path is None:
        return None
    name = "the job from stdin" if path == STANDARD else str(path)
    try:
        text = text_of_stdin("The job") if path == STANDARD else path.read_text(encoding="utf-8")
        value = read_json(text)
    except OSError as error:
        raise misused(f"{name} cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise misused(f"{name} is not JSON: {error}.") from error
    if not isinstance(value, dict):
        raise misused(f"{name} must hold a JSON object; it holds {kind_of(value)}.")
    return value


def _tell_cancelled(job_id: str, failure: ClientError | None) -> None:
    """Say what became of the job, because a job that runs on costs money."""
    if failure is None:
        complain("note", f"The job {job_id} was cancelled.")
        return
    name = job_id or "it"
    complain("warning", f"The job may still be running: {name} could not be cancelled. {failure}")


def _show_sent(job_id: str, warnings: list[str], *, as_json: bool) -> None:
    """Print the id. The notes go to stderr: programs take the whole of stdout for the id."""
    if as_json:
        say_json({"job_id": job_id, **({"warnings": warnings} if warnings else {})})
        return
    print(job_id)
    for line in warnings:
        complain("note", line)


def show_result(status: JobStatus, result: Result, *, as_json: bool, out: TextIO) -> None:
    """Print what a job made: for a person, or as JSON."""
    # A picture that was not saved here is nowhere else than in the answer.
    answer = without_data(status.answer, keep_thumbnails=len(result.thumbnail_paths) < len(status.thumbnails))
    if as_json:
        told: dict[str, Any] = {"job_id": status.job_id, "files": [str(path) for path in result.paths]}
        more = {
            "thumbnails": [str(path) for path in result.thumbnail_paths],
            "uploaded": [*result.uploaded],
            "notes": [*result.notes],
        }
        say_json({**told, **{name: lines for name, lines in more.items() if lines}, "answer": answer})
        return
    if not status.files:
        say_json(answer)
        return
    for line in result.warnings:
        say("note", line, out=out)
    for path in result.paths:
        say("saved", f"{path}  ({path.stat().st_size:,} bytes)", out=out)
    for path in result.thumbnail_paths:
        say("thumbnail", str(path), out=out)
    for name in result.uploaded:
        say("at your URL", f"{name}  (the worker put it there)", out=out)
    for place in result.left_there:
        text = f"{place}  (the job asked for no video in the answer, or it did not fit)"
        say("on the worker", text, out=out)
    say("job", status.job_id, out=out)


COMMAND = Command(
    "submit", "Send a job to a RunPod endpoint or to a REST server, and save its video.", SubmitOptions, run
)
