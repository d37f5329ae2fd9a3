"""The tables that the pages must hold, written from the code, and the pages' own blocks and links."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from wanworker import errors
from wanworker.actions.base import Action
from wanworker.actions.fields import Request
from wanworker.engines.base import EngineRow
from wanworker.engines.comfyui_graphs.loras import STEP_LORAS
from wanworker.engines.comfyui_graphs.table import WORKFLOWS
from wanworker.errors import WorkerError
from wanworker.models.loras import STEP_PAIRS, sibling_of
from wanworker.settings import Settings
from wanworker.spec import RANGES, TASKS

ROOT = Path(__file__).resolve().parent.parent

#: Defaults that depend on the machine, as docs/configuration.md writes them.
_DEFAULTS_BY_MACHINE = {"ckpt_dir": "`VOLUME/models`", "out_dir": "`VOLUME/outputs`"}


def pages() -> list[Path]:
    """Return every page of ours."""
    return sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def blocks(page: str, language: str) -> list[str]:
    """Return the text of every code block of *language*."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def links(page: str) -> list[str]:
    """Return where the page's links and pictures lead, those to other hosts left out."""
    targets = re.findall(r"\]\(([^)\s]+)\)", page)
    return [target for target in targets if "://" not in target]


def anchors(page: str) -> set[str]:
    """Return the names of the page's headings, as links write them."""
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def paths_named(page: str) -> list[str]:
    """Return the paths of this repository that the page names in code marks, placeholders left out."""
    known = r"(?:scripts|src|tests|docs|bench|\.ci)/[\w./-]+|handler\.py|test_input\.json|requirements[\w-]*\.txt"
    return re.findall(rf"`({known})`", page)


def table(head: str, rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table under *head*, its column names joined by bars."""
    names = head.split("|")
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def request_table(model: type[Request]) -> str:
    """Return the table of one action's fields: names, ranges and defaults as the code has them."""
    others: dict[str, list[str]] = {}
    for alias, name in model.aliases().items():
        others.setdefault(name, []).append(f"`{alias}`")
    properties = model.model_json_schema()["properties"]
    # The model's own order: pydantic puts what a base class declares first.
    names = [name for name in model.__annotations__ if name in model.model_fields]
    return table(
        "Field|Also|Type|Default|Meaning",
        (
            (
                f"`{name}`",
                ", ".join(others.get(name, [])),
                _kind(properties[name]),
                _value(model.model_fields[name].default),
                _words(model.model_fields[name]),
            )
            for name in names
        ),
    )


def _kind(schema: dict[str, Any]) -> str:
    choices = [part for part in schema.get("anyOf", [schema]) if part.get("type") != "null"]
    kind = choices[0]
    limits = {**schema, **kind}
    names = ["list" if part.get("type") == "array" else part.get("type", "object") for part in choices]
    name = " or ".join(dict.fromkeys(names))
    if "enum" in kind:
        return ", ".join(f"`{value}`" for value in kind["enum"])
    if "minimum" in limits:
        return f"{name}, {limits['minimum']:.15g} to {_high(limits['maximum'])}"
    if "maxLength" in limits:
        return f"{name}, at most {limits['maxLength']:,} characters"
    return f"{name}, at most {limits['maxItems']}" if "maxItems" in limits else name


def _high(number: float) -> str:
    return "2^64-1" if number == RANGES["seed"].high else f"{number:.15g}"


def _value(default: object) -> str:
    if default is None or default == ():
        return ""
    if isinstance(default, bool | float):
        return f"`{str(default).lower() if isinstance(default, bool) else f'{default:.15g}'}`"
    return f"`{default}`" if default not in {"", PydanticUndefined} else "empty" if default == "" else "required"


def _words(field: FieldInfo) -> str:
    return field.description or ""


def settings_table() -> str:
    """Return the table of every variable."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = _DEFAULTS_BY_MACHINE.get(name) or _value(field.default)
        rows.append((f"`{field.validation_alias}`", default, _words(field)))
    return table("Variable|Default|Meaning", rows)


def errors_table() -> str:
    """Return the table of every code, with the first line of what its errors mean."""
    rows = []
    for kind in _kinds():
        meaning = "Nobody foresaw it." if kind is WorkerError else (kind.__doc__ or "").strip().splitlines()[0]
        rows.append((f"`{kind.code}`", f"`{kind.status}`", str(kind.http_status), meaning, kind.default_hint))
    return table("Code|Status|HTTP|Meaning|Hint, unless the error has a better one", rows)


def _kinds() -> Iterator[type[WorkerError]]:
    """Every error that a caller meets: the plain member stands for its family."""
    families = {errors.RequestError, errors.EngineError}
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, WorkerError) and kind not in families:
            yield kind


def ranges_table() -> str:
    """Return the table of ranges that every door keeps."""
    rows = ((f"`{name}`", f"{limits.low:.15g}", _high(limits.high)) for name, limits in RANGES.items())
    return table("What|From|To", rows)


def tasks_table() -> str:
    """Return the table of Wan tasks with their defaults."""
    rows = []
    for task in TASKS.values():
        needs = {"picture": task.needs_image, "sound": task.needs_audio, "driving video": task.needs_driving_video}
        frames = str(task.frames) if task.frames else "as long as the sound or driving video"
        needed = ", ".join(name for name, needed in needs.items() if needed) or "nothing"
        rows.append((f"`{task.name}`", needed, f"`{task.size}`", frames, str(task.fps), f"{task.steps}"))
    return table("Task|Needs|Size|Frames|fps|Steps", rows)


def actions_table(actions: Iterable[Action], meanings: dict[str, str]) -> str:
    """Return the table of actions; *meanings* are the page's own words."""
    rows = (
        (f"`{action.name}`", ", ".join(f"`{alias}`" for alias in action.aliases), meanings[action.name])
        for action in actions
    )
    return table("Action|Also|What it does", rows)


def engines_table(rows: Iterable[EngineRow]) -> str:
    """Return the table of engines in auto's order, with their capabilities."""
    lines = []
    for row in rows:
        can = row.capabilities
        extras = {
            "negative prompt": can.negative_prompt,
            "LoRA": can.lora,
            "fps": can.fps,
            "last image": bool(can.last_image),
            "guidance per expert": can.guidance_per_expert,
        }
        tasks = ", ".join(f"`{task}`" for task in TASKS if task in can.tasks)
        sizes = "any" if can.any_size else "upstream's list" if can.sizes else "any multiple of 16 (5B: 32)"
        has = ", ".join(name for name, possible in extras.items() if possible) or "none of these"
        lines.append((f"`{row.name}`", tasks, sizes, has))
    return table("Engine|Tasks|Sizes|Also takes", lines)


def weights_table() -> str:
    """Return the table of the files that our own ComfyUI graphs load, and which requests need them."""
    users: dict[tuple[str, str], dict[str, None]] = {}
    for workflow in WORKFLOWS.values():
        for weights in workflow.weights.values():
            user = f"`{workflow.task}`" + (" with `use_lora`" if weights.folder == "loras" else "")
            users.setdefault((weights.folder, weights.default), {})[user] = None
    for task, high in STEP_LORAS.items():
        for name in dict.fromkeys((high, sibling_of(high)) if task in STEP_PAIRS else (high,)):
            users.setdefault(("loras", name), {})[f"`{task}` with `use_lora`"] = None
    rows = ((f"`{folder}`", f"`{name}`", ", ".join(tasks)) for (folder, name), tasks in users.items())
    return table("Folder|File|For", sorted(rows))
