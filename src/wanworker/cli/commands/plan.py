"""`wanworker plan`: say what `render` would make of the same options, without rendering."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from wanworker.cli._base import Command
from wanworker.cli._render_options import PROMPT, VideoOptions
from wanworker.cli.commands._local import job_of
from wanworker.cli.terminal.console import say, say_json
from wanworker.cli.terminal.files import new_request_id
from wanworker.cli.terminal.signals import run_stoppable
from wanworker.cli.terminal.standard_streams import prompt_of
from wanworker.ranges import RANGES


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions(VideoOptions):
    """Hold the arguments of `plan`."""

    prompt: Annotated[str, PROMPT]
    price_per_hour: Annotated[
        float | None,
        typer.Option(
            "--price-per-hour",
            metavar="N",
            min=RANGES["price_per_hour"].low,
            max=RANGES["price_per_hour"].high,
            help="What an hour of this machine costs. The plan then says what the job costs.",
        ),
    ] = None
    json: Annotated[
        bool, typer.Option("--json", help="Print the answer as JSON on stdout, and nothing else there.")
    ] = False


def run(args: PlanOptions) -> int:
    """Print the plan, and return the exit code. Raises CommandFailed, and WorkerError where `render` would."""
    payload, settings = job_of(args, prompt_of(args.prompt), "plan")
    if args.price_per_hour is not None:
        payload["price_per_hour"] = args.price_per_hour

    async def planned() -> int:
        from wanworker.actions.base import Call
        from wanworker.app import Worker

        worker = Worker.from_settings(settings)
        try:
            call = Call(new_request_id("plan"), None, lambda _: None, answer_limit_bytes=sys.maxsize)
            answer = await worker.perform(payload, call)
        finally:
            await worker.close()
        if args.json:
            say_json(answer)
        else:
            for label, text in lines_of(answer):
                say(label, text)
        return 0

    return run_stoppable(planned)


def lines_of(answer: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the label and the text of each line for a person. Pure."""
    yield "engine", f"{answer['engine']} ({answer['model']})"
    yield "video", _video(answer)
    if recipe := answer["recipe"]:
        guidance = f"{recipe['guidance']:g}"
        if recipe["guidance_low"] != recipe["guidance"]:
            guidance += f" (low noise {recipe['guidance_low']:g})"
        numbers = f"{recipe['steps']} steps, guidance {guidance}, shift {recipe['shift']:g}, {recipe['solver']}"
        yield "recipe", f"{recipe['name']}: {numbers}"
    if placement := answer["placement"]:
        yield "placement", ", ".join(f"{name} {value}" for name, value in placement.items() if isinstance(value, str))
    yield "time", _time(answer)
    if answer["cost"] is not None:
        yield "cost", f"{answer['cost']:g}"
    for line in answer["warnings"]:
        yield "note", line
    for line in answer["unknown"]:
        yield "not known yet", line


def _video(answer: Mapping[str, Any]) -> str:
    video = answer["video"]
    size = "size not known yet" if video["width"] is None else f"{video['width']}x{video['height']}"
    frames = "number of frames not known yet" if video["frames"] is None else f"{video['frames']} frames"
    fps = "" if video["fps"] is None else f", {video['fps']:g} fps"
    many = f"{answer['num_outputs']} videos of " if answer["num_outputs"] > 1 else ""
    return f"{many}{size}, {frames}{fps}"


def _time(answer: Mapping[str, Any]) -> str:
    if answer["seconds"] is None:
        return "not known: no job like it has been rendered here"
    names = {"seconds_warm": "with everything loaded", "seconds_cold": "with a load first"}
    parts = [f"{answer[key]:g} s {words}" for key, words in names.items() if answer[key] is not None]
    jobs = "1 job" if answer["like_jobs"] == 1 else f"{answer['like_jobs']} jobs"
    return f"{answer['seconds']:g} s, the median of {jobs} like it ({', '.join(parts)})"


COMMAND = Command("plan", "Say what `render` would do, how long it takes and what it costs.", PlanOptions, run)
