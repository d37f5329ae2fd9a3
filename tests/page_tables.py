"""Tables for the pages, written from the code: fields, ranges, tasks, actions, engines, errors, variables, routes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pages import table
from wanworker import errors
from wanworker.actions.base import Action
from wanworker.actions.request.fields import Request
from wanworker.client.request import FIELDS, FILES, REST_FIELDS, VideoFields
from wanworker.engines.base import EngineRow
from wanworker.engines.comfyui.graphs._seedvr2 import SEEDVR2
from wanworker.engines.comfyui.graphs.table import WORKFLOWS
from wanworker.errors import WorkerError
from wanworker.ranges import RANGES
from wanworker.recipes.sampling import noise_at
from wanworker.recipes.table import ROWS, STEP_LORAS, Recipe
from wanworker.settings import Settings
from wanworker.spec import TASKS

#: Defaults that depend on the machine, as docs/configuration.md writes them.
_DEFAULTS_BY_MACHINE = {"ckpt_dir": "`VOLUME/models`", "out_dir": "`VOLUME/outputs`"}

#: Where an answer's table stands, when it is not under its own name.
_HEADINGS = {"Status": "status-of-a-job", "Health": "health-of-the-server"}


def request_table(model: type[Request], *, beside: type[Request] | None = None) -> str:
    """
    Return the table of one action's fields: names, ranges and defaults as the code has them.

    Those that it has from *beside*, whose table is on the page already, are left out.
    """
    others: dict[str, list[str]] = {}
    for alias, name in model.aliases().items():
        others.setdefault(name, []).append(f"`{alias}`")
    properties = model.model_json_schema()["properties"]
    # The model's own order: pydantic puts what a base class declares first.
    own = [name for name in model.__annotations__ if name in model.model_fields]
    known = beside.model_fields if beside else {}
    names = [*own, *(name for name in model.model_fields if name not in own and name not in known)]
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
        least = limits.get("minLength")
        return f"{name}, {f'{least} to' if least else 'at most'} {limits['maxLength']:,} characters"
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
    for kind in kinds():
        meaning = "An unexpected failure." if kind is WorkerError else (kind.__doc__ or "").strip().splitlines()[0]
        rows.append((_explained(kind), f"`{kind.status}`", str(kind.http_status), meaning, kind.default_hint))
    return table("Code|Status|HTTP|Meaning|Hint, unless the error has a better one", rows)


def kinds() -> Iterator[type[WorkerError]]:
    """Every error that a caller meets: the plain member stands for its family."""
    families = {errors.RequestError, errors.EngineError}
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, WorkerError) and kind not in families:
            yield kind


def _explained(kind: type[WorkerError]) -> str:
    return f"[`{kind.code}`](troubleshooting.md#{kind.code.lower()})"


def ranges_table() -> str:
    """Return the table of ranges that every door keeps."""
    rows = ((f"`{name}`", f"{limits.low:.15g}", _high(limits.high)) for name, limits in RANGES.items())
    return table("What|From|To", rows)


def tasks_table() -> str:
    """Return the table of Wan tasks with their defaults."""
    rows = []
    for task in TASKS.values():
        needs = {"picture": task.needs_image, "sound": task.needs_audio, task.film: task.needs_driving_video}
        frames = str(task.frames) if task.frames else "as long as the sound or driving video"
        needed = ", ".join(name for name, needed in needs.items() if needed) or "nothing"
        rows.append((f"`{task.name}`", needed, f"`{task.size}`", frames, str(task.fps), f"{task.steps}"))
    return table("Task|Needs|Size|Frames|fps|Steps", rows)


def client_table() -> str:
    """Return the table of the client's fields: what each sets of `generate`, and of POST /generate."""
    files = {name: f"`{field}_url`, `{field}_base64`" for name, field in FILES.items()}
    rest_files = {"size": "`width`, `height`", "image": "`image_url`, `image`", "soundtrack": "`soundtrack_url`"}
    special = {
        "lora": ("`use_lora`, `lora_name`: a name, or `True` for the model's own pair", "`loras`: a name"),
        "extra": ("fields under their own names", "fields under their own names"),
    }
    rows = []
    for name in VideoFields.__annotations__:
        action = files.get(name) or (f"`{FIELDS[name]}`" if name in FIELDS else "")
        rest = rest_files.get(name) or (f"`{REST_FIELDS[name]}`" if name in REST_FIELDS else "")
        rows.append((f"`{name}`", *special.get(name, (action, rest))))
    return table("Field|Of `generate`|Of `POST /generate`", rows)


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
            "profile": can.profiles,
            "model by name": can.names_models,
            "upscale model by name": can.upscale_models,
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
    for weights in SEEDVR2.weights.values():
        users[weights.folder, weights.default] = {"`upscale` by SeedVR2": None}
    for task, lora in STEP_LORAS.items():
        for name in filter(None, (lora.high, lora.low)):
            users.setdefault(("loras", name), {})[f"`{task}` with `use_lora`"] = None
    rows = ((f"`{folder}`", f"`{name}`", ", ".join(tasks)) for (folder, name), tasks in users.items())
    return table("Folder|File|For", sorted(rows))


def recipes_table() -> str:
    """Return the table of few-step recipes, each with the files that mean it."""
    files: dict[Recipe, list[str]] = {}
    for row in ROWS:
        files.setdefault(row.recipe, []).extend(f"`{name}`" for name in row.examples)
    return table(
        "Files|Steps|Noise before each step|Solver|Guidance|Shift",
        (
            (", ".join(names), f"{recipe.steps}{_halves(recipe)}", _noise(recipe), recipe.solver,
             f"{recipe.guidance[1]:g}", "" if recipe.noise else f"{recipe.shift:g}")
            for recipe, names in files.items()
        ),
    )  # fmt: skip


def _halves(recipe: Recipe) -> str:
    high = recipe.high_steps
    return "" if high is None else f", the first {high} with the high-noise expert"


def _noise(recipe: Recipe) -> str:
    shares = recipe.noise or tuple(noise_at(1 - step / recipe.steps, recipe.shift) for step in range(recipe.steps))
    return ", ".join(f"{1000 * share:.4g}" for share in shares) + " of 1000"


def answer_table(schema: Mapping[str, Any]) -> str:
    """Return the table of the keys of one of REST's answers, from its schema."""
    required = schema.get("required", ())
    return table(
        "Key|Type|Meaning",
        (
            (
                f"`{name}`" if name in required else f"`{name}` *",
                _answered(field, may_be_null=name in required),
                field.get("description", ""),
            )
            for name, field in schema["properties"].items()
        ),
    )


def _answered(schema: Mapping[str, Any], *, may_be_null: bool = False) -> str:
    """Return the type of a key of an answer: the values where they are few, a link where there is a table."""
    choices: list[Mapping[str, Any]] = list(schema.get("anyOf", [schema]))
    kinds = [kind for kind in choices if kind.get("type") != "null"]
    kind = kinds[0]
    if "$ref" in kind:
        name = kind["$ref"].rpartition("/")[2]
        text = f"[{name}](#{_HEADINGS.get(name, name.lower())})"
    elif values := kind.get("enum") or ([kind["const"]] if "const" in kind else []):
        text = ", ".join(f"`{'true' if value is True else value}`" for value in values)
    elif kind["type"] == "array":
        text = f"list of {_answered(kind['items'])}"
    elif "maximum" in kind:
        text = f"{kind['type']}, {kind['minimum']:.15g} to {kind['maximum']:.15g}"
    else:
        text = kind["type"]
    return f"{text} or null" if may_be_null and len(kinds) < len(choices) else text


def routes_table(openapi: Mapping[str, Any], *, tag: str) -> str:
    """Return the table of the routes that carry *tag*: what each does, its query, and the statuses that it answers."""
    rows = []
    for path, methods in openapi["paths"].items():
        for method, route in methods.items():
            if tag not in route["tags"]:
                continue
            query = [each for each in route.get("parameters", ()) if each["in"] == "query"]
            # FastAPI adds 422 wherever the path has a part; a text is never wrong there.
            unused = set() if query or "requestBody" in route else {"422"}
            statuses = ", ".join(status for status in route["responses"] if status not in unused)
            meaning = " ".join(route["description"].split())
            rows.append((f"`{method.upper()} {path}`", meaning, " ".join(map(_query, query)), statuses))
    return table("Route|What it does|Query|Answers", rows)


def _query(parameter: Mapping[str, Any]) -> str:
    schema = parameter["schema"]
    limits = f" ({schema['minimum']} to {schema['maximum']}; {schema['default']})" if "minimum" in schema else ""
    return f"`{parameter['name']}`{limits}"


def refusals_table(kinds: Iterable[type[WorkerError]]) -> str:
    """Return the table of what only the REST API answers."""
    rows = (
        (_explained(kind), str(kind.http_status), (kind.__doc__ or "").splitlines()[0], kind.default_hint)
        for kind in kinds
    )
    return table("Code|HTTP|When|Hint", rows)


def words_table(head: str, words: Iterable[str], meanings: Mapping[str, str]) -> str:
    """Return a table of the code's *words*, with the pages' own meanings of them. Raises KeyError for a new word."""
    return table(head, ((f"`{word}`", meanings[word]) for word in words))
