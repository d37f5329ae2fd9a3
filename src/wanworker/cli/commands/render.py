"""`wanworker render`: render a video in this process, with the worker that also serves RunPod and REST."""

from __future__ import annotations

import base64
import logging
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from wanworker.cli._base import EXIT_FAILED, EXIT_USAGE, Command, CommandFailed
from wanworker.cli._render_options import PROMPT, VideoOptions
from wanworker.cli.commands._local import job_of
from wanworker.cli.terminal.console import complain, say, say_json, video_facts, without_data
from wanworker.cli.terminal.files import check_output, new_request_id
from wanworker.cli.terminal.live_progress import LiveProgress
from wanworker.cli.terminal.signals import run_stoppable
from wanworker.cli.terminal.standard_streams import STANDARD, copy_to_stdout, prompt_of, refuse_terminal
from wanworker.client.errors import ClientError
from wanworker.client.saving import put_in_place, unfinished_beside
from wanworker.errors import RequestError, WorkerError

if TYPE_CHECKING:
    from wanworker.settings import Settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderOptions(VideoOptions):
    """Hold the arguments of `render`."""

    prompt: Annotated[str, PROMPT]
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Copy the video to FILE, or write it to stdout with -."),
    ] = None
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it exists.")] = False
    json: Annotated[
        bool, typer.Option("--json", help="Print the answer as JSON on stdout, and nothing else there.")
    ] = False


def run(args: RenderOptions) -> int:
    """Render a video, and return the exit code. Raises CommandFailed."""
    if args.output == STANDARD:
        refuse_terminal(as_json=args.json)
    elif args.output:
        check_output(args.output, force=args.force)
    request_id = new_request_id("cli")
    payload, settings = job_of(args, prompt_of(args.prompt), "generate")
    payload |= {"request_id": request_id, "return_video": False}
    with _log_beside(settings.out_dir, request_id) as log, _told(request_id, log):
        return run_stoppable(lambda: _render(payload, args, settings, log))


async def _render(payload: dict[str, Any], args: RenderOptions, settings: Settings, log: Path) -> int:
    from wanworker.media.threads import in_thread
    from wanworker.media.video.contact_sheet import contact_sheet

    answer = await _answer(payload, settings)
    made = _videos(answer)
    first = Path(made[0]["path"])
    sheet = await contact_sheet(first, first.with_suffix(".png"))
    videos = [Path(each["path"]) for each in made]
    is_piped = args.output == STANDARD
    if is_piped:
        await in_thread(_piped, first)
    elif args.output:
        videos = [
            await in_thread(_copied, video, _numbered(args.output, number), force=args.force)
            for number, video in enumerate(videos, start=1)
        ]
    pictures = [await in_thread(_picture, each, video) for each, video in zip(made, videos, strict=True)]
    thumbnails = [picture for picture in pictures if picture is not None]
    if args.json:
        saved = {"thumbnails": [str(picture) for picture in thumbnails]} if thumbnails else {}
        files = {"files": [str(video) for video in videos], "contact_sheet": str(sheet), **saved}
        is_unsaved = any(made_one.get("thumbnail") for made_one, place in zip(made, pictures, strict=True) if not place)
        say_json({**without_data(answer, keep_thumbnails=is_unsaved), **files})
    else:
        show(answer, videos, sheet, log, thumbnails=thumbnails, out=sys.stderr if is_piped else sys.stdout)
    return 0


def _picture(made: Mapping[str, Any], video: Path) -> Path | None:
    """Save the first frame, where the answer has it, beside *video*, and return its place. It fails no render."""
    text = made.get("thumbnail")
    if text is None:
        return None
    path = video.with_suffix(".jpg")
    try:
        with unfinished_beside(path) as part:
            part.write_bytes(base64.b64decode(text.partition("base64,")[2]))
            return put_in_place(part, path, force=False)
    except (ClientError, OSError) as error:
        complain("warning", f"{path} could not be written, and the video is {video}: {error}")
        return None


def _videos(answer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the path, the seed and the facts of each video that was made."""
    only = {"path": answer["result"]["path"], "seed": answer["seed"], "video": answer["video"]}
    only |= {"thumbnail": answer.get("thumbnail")}
    made = [each for each in answer.get("results", ()) if "path" in each]
    # The picture of the first is in the answer itself.
    return [{**made[0], "thumbnail": answer.get("thumbnail")}, *made[1:]] if made else [only]


def _numbered(path: Path, number: int) -> Path:
    return path if number == 1 else path.with_stem(f"{path.stem}-{number}")


def show(
    answer: Mapping[str, Any],
    videos: Sequence[Path],
    sheet: Path,
    log: Path,
    *,
    thumbnails: Sequence[Path] = (),
    out: TextIO | None = None,
) -> None:
    """Print what was made, for a person, on stdout if no other stream is given."""
    for line in answer["warnings"]:
        say("note", line, out=out)
    for video, made in zip(videos, _videos(answer), strict=True):
        facts = made["video"]
        measures = video_facts(facts["width"], facts["height"], facts["frames"], facts["fps"])
        say("video", f"{video}  ({measures}, {answer['model']}, seed {made['seed']})", out=out)
    for picture in thumbnails:
        say("thumbnail", str(picture), out=out)
    say("contact sheet", str(sheet), out=out)
    say("log", str(log), out=out)


async def _answer(payload: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """
    Let a worker of our own perform *payload*. When this returns or raises, everything that it started has stopped.
    """
    from wanworker.actions.base import Call
    from wanworker.app import Worker

    worker = Worker.from_settings(settings)
    try:
        with LiveProgress(sys.stderr) as live:
            call = Call(payload["request_id"], None, live.report, answer_limit_bytes=sys.maxsize)
            return await worker.perform(payload, call)
    finally:
        await worker.close()


def _piped(video: Path) -> None:
    try:
        with video.open("rb") as file:
            copy_to_stdout(file)
    except CommandFailed as error:
        error.hint = f"The video is {video}."
        raise


def _copied(video: Path, path: Path, *, force: bool) -> Path:
    """Copy the worker's file, which its record names, to *path*."""
    with unfinished_beside(path) as part:
        try:
            shutil.copyfile(video, part)
            return put_in_place(part, path, force=force)
        except OSError as error:
            raise CommandFailed(f"{path} could not be written ({error.strerror}); the video is {video}.") from error


@contextmanager
def _log_beside(out_dir: Path, request_id: str) -> Iterator[Path]:
    """
    Write the worker's log to a file beside its video, because log lines would break the progress bar on the terminal.
    """
    from wanworker import logs

    path = out_dir / f"{request_id}.log"
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        file = path.open("w", encoding="utf-8")
    except OSError as error:
        hint = "Set WAN_OUT_DIR to a folder that can be written."
        raise CommandFailed(f"{path} cannot be written ({error.strerror}).", hint=hint) from error
    with file:
        logs.set_up()
        (handler,) = logging.getLogger().handlers
        assert isinstance(handler, logging.StreamHandler)
        handler.setStream(file)
        try:
            yield path
        finally:
            handler.setStream(sys.stderr)


@contextmanager
def _told(request_id: str, log: Path) -> Iterator[None]:
    """Translate what a render may raise into a message for a person."""
    try:
        yield
    except WorkerError as error:
        logger.warning("The job failed: %s %s", error.code, error)
        exit_code = EXIT_USAGE if isinstance(error, RequestError) else EXIT_FAILED
        raise CommandFailed(
            str(error), hint=error.hint, code=error.code, request_id=request_id, log=log, exit_code=exit_code
        ) from error
    except (CommandFailed, ClientError, BrokenPipeError):
        raise
    except Exception as error:  # a door catches everything; the traceback goes to the log
        logger.exception("The job failed with an unexpected error.")
        text = f"Internal error ({type(error).__name__})."
        raise CommandFailed(
            text, hint="The log has the details.", code="INTERNAL", request_id=request_id, log=log
        ) from error


COMMAND = Command("render", "Render a video on this machine.", RenderOptions, run)
