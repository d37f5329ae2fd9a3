"""Tell the page what a request may contain, from the tables that check requests. Pure."""

from __future__ import annotations

from typing import Any, get_args

from wanworker.actions.request.lora import MOST_LORAS
from wanworker.actions.request.shape import RESOLUTIONS, frames_for, size_for
from wanworker.engines import ENGINES
from wanworker.media.inputs.reader import InputLimits
from wanworker.ranges import RANGES
from wanworker.rest.schemas.generate import TASK, GenerateBody
from wanworker.spec import TASKS, Profile, Size, Task

#: The lengths that the page offers, in seconds.
SECONDS = (2, 3, 5)

#: What a video begins with, each with the files that it takes, as RenderSpec names them.
MODES = {
    "text": (),
    "picture": ("image",),
    "pair": ("image", "last_image"),
    "sound": ("image", "audio"),
    "motion": ("image", "driving_video"),
}

_SHAPES = {"wide": "16:9", "square": "1:1", "tall": "9:16"}

#: The range of each number that a visitor may set, by its field in POST /generate; the price goes to the plan alone.
_RANGE_OF = {
    "width": "side_px",
    "height": "side_px",
    "length": "frames",
    "fps": "fps",
    "steps": "steps",
    "cfg": "guidance",
    "shift": "shift",
    "strength": "strength",
    "price": "price_per_hour",
}


def page_tables() -> dict[str, Any]:
    """
    Return the modes with their tasks, the tasks with their sizes and lengths, and the ranges and names of the fields.

    The tasks are those that the miniature shows, too, so that each can be tried on any machine.
    """
    offered = {name: task for name, task in TASKS.items() if name in _shown_everywhere()}
    return {
        "plain_task": TASK,
        "modes": {
            mode: {"files": [*files], "tasks": [name for name, task in _plain_first(offered) if _begins(task, files)]}
            for mode, files in MODES.items()
        },
        "tasks": {name: _task(task) for name, task in offered.items()},
        "seconds": [*SECONDS],
        "numbers": {name: _number(name) for name in _RANGE_OF},
        "prompt_chars": int(RANGES["prompt_chars"].high),
        "loras": MOST_LORAS,
        "file_bytes": InputLimits().image_bytes,
        "profiles": [*get_args(Profile)],
        "engines": [row.name for row in ENGINES],
    }


def _shown_everywhere() -> frozenset[str]:
    return next(row.capabilities.tasks for row in ENGINES if row.name == "mini")


def _plain_first(tasks: dict[str, Task]) -> list[tuple[str, Task]]:
    return sorted(tasks.items(), key=lambda item: item[0] != TASK)


def _begins(task: Task, files: tuple[str, ...]) -> bool:
    """Say whether *task* takes all of *files*, and needs no other."""
    inputs = {
        "image": (task.takes_image, task.needs_image),
        "last_image": (task.takes_last_image, False),
        "audio": (task.needs_audio, task.needs_audio),
        "driving_video": (task.needs_driving_video, task.needs_driving_video),
    }
    taken = {name for name, (is_taken, _) in inputs.items() if is_taken}
    needed = {name for name, (_, is_needed) in inputs.items() if is_needed}
    return needed <= {*files} <= taken


def _task(task: Task) -> dict[str, Any]:
    """Return a task's name, frame rate, sizes and lengths. No size is larger than the task's own."""
    sizes = {name: {shape: _size(task, name, ratio) for shape, ratio in _SHAPES.items()} for name in RESOLUTIONS}
    return {
        "title": task.folder.replace("Wan2.2", "Wan 2.2").replace("-", " "),
        "family": task.name.partition("-")[2],
        "fps": task.fps,
        "sizes": {
            name: {shape: [size.width, size.height] for shape, size in shapes.items()}
            for name, shapes in sizes.items()
            if shapes["wide"].area <= task.size.area
        },
        "frames": {str(seconds): _frames(task, seconds) for seconds in SECONDS} if task.frames else None,
    }


def _size(task: Task, resolution: str, ratio: str) -> Size:
    return size_for(resolution, ratio, default=task.size, multiple=task.size_multiple, by_picture=False, warnings=[])[0]


def _frames(task: Task, seconds: float) -> int | None:
    return frames_for(seconds, None, fps=task.fps, names={"seconds": "seconds", "frames": "frames"}, warnings=[])


def _number(name: str) -> dict[str, Any]:
    limits = RANGES[_RANGE_OF[name]]
    field = GenerateBody.model_fields.get(name)
    return {"low": limits.low, "high": limits.high, "is_whole": field is not None and field.annotation is int}
