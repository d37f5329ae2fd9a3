"""What may import what, read from the source: the rules of DESIGN.md section 2 as functions from modules to lines."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from source import PACKAGE, Import, Module, unit_of

#: Lower numbers know nothing of higher ones. Units of one number do not know each other.
LAYERS = {
    "__main__": 10,
    "handler": 9, "rest": 9, "cli": 9,
    "app": 8,
    "videos": 7.5,
    "actions": 7, "serverless": 7,
    "render": 6,
    "output_files": 5, "planning": 5,
    "jobs": 4,
    "engines": 3,
    "comfyui": 2, "models": 2, "media": 2,
    "recipes": 1.5,
    "client": 1, "deadline": 1, "process": 1, "progress": 1, "spec": 1, "ranges": 0.5, "clocks": 0.5, "settings": 1,
    "errors": 0,
    "text": -1,
}  # fmt: skip
DOORS = {"handler", "rest", "cli"}
LOG_USERS = {*DOORS, "app", "serverless"}
PLAIN_VALUES = {"comfyui", "jobs", "media"}
TORCH = {"torch", "torchvision", "diffusers", "transformers", "accelerate", "peft", "safetensors"}
SLOW = {"PIL", "numpy", "boto3", "botocore", "imageio_ffmpeg", "requests", "websocket", *TORCH}
CHILD = "wanworker.engines.resident.child"
#: The libraries of the command line; scripts/run and the worker start without them.
TERMINAL = {"typer", "rich"}
#: What the rows of a table have in common.
SHARED = {"base", "_capabilities"}
#: Pages that tell how to extend the worker: a module that one of them names is public.
EXTENSION_PAGES = "docs/adding-*.md"
#: The order inside a folder: lower numbers know nothing of higher ones. What is not named here may know all of them.
ORDER = {
    "actions": {
        "generate": 3,
        "comfyui": 3,
        "status": 3,
        "health": 3,
        "_video_answer": 2.5,
        "_delivered": 2,
        "envelope": 2,
        "base": 1,
        "request": 0,
    },
    "cli": {"main": 4, "commands": 3, "terminal": 1, "_render_options": 1, "_base": 0},
    "client": {
        "_client": 5,
        "_async_client": 4,
        "_following": 3,
        "_results": 3,
        "targets": 2,
        "request": 1,
        "errors": 0,
    },
    "comfyui": {"server": 2, "run": 2, "ui_workflow": 1, "client": 1, "graph": 0},
    "engines/resident": {"parent": 1, "child": 1, "placement": 1, "protocol": 0},
    "jobs": {"attempt": 3, "runner": 3, "store": 2, "model": 1, "_owner": 0},
    "media": {"outputs": 3, "inputs": 2, "video": 1, "threads": 0, "new_file": 0, "scratch": 0},
    "models": {"machine": 2, "hub": 1, "miniature": 1, "sources": 1, "files": 0},
    "recipes": {"sampling": 1, "table": 0},
    "rest": {"_serve": 7, "_app": 6, "routes": 5, "videos": 5, "responses": 4, "service": 3, "http": 2, "schemas": 1},
}
ENVIRONMENT = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}


def _ours(module: Module) -> Iterator[Import]:
    return (item for item in module.imports if item.is_below(PACKAGE) and unit_of(item.target) in {*LAYERS, "logs"})


def imports_that_point_up(modules: Iterable[Module]) -> list[str]:
    """Find imports of a unit that is not strictly lower, and files that no layer names."""
    found = []
    for module in modules:
        if module.unit not in {*LAYERS, "logs", ""}:
            found.append(module.finding(1, f"{module.unit!r} has no layer; give it one in tests/boundaries.py"))
            continue
        for item in _ours(module):
            target = unit_of(item.target)
            if target in {module.unit, "logs"} or LAYERS[target] < LAYERS.get(module.unit, 0):
                continue
            found.append(module.finding(item.line, f"{module.unit or PACKAGE} imports {item.target}"))
    return found


def doors_that_know_each_other(modules: Iterable[Module]) -> list[str]:
    """Find a door that imports another, by whatever name: `import handler` counts."""
    return [
        module.finding(item.line, f"the door {module.unit} imports the door {unit_of(item.target)}")
        for module in modules
        if module.unit in DOORS
        for item in module.imports
        if unit_of(item.target) in DOORS - {module.unit} and item.is_below(PACKAGE, "handler")
    ]


def imports_of_logs(modules: Iterable[Module]) -> list[str]:
    """Find imports of logs by others than doors, app and serverless: the rest uses `logging` and knows no set-up."""
    return [
        module.finding(item.line, f"{module.unit} imports logs")
        for module in modules
        if module.unit not in {*LOG_USERS, "logs"}
        for item in module.imports
        if item.is_below("wanworker.logs")
    ]


def rows_that_know_each_other(modules: Iterable[Module], package: str, table: str) -> list[str]:
    """
    Find a module of *package* that imports a row of *table* (`ACTIONS`, `ENGINES`) which it is no part of.

    A row's parts are what lies below it, `generate_fields` beside `generate`, and the folder of a row that has the
    folder to itself: all of `wan_cli/` belongs to `wan_cli/engine`. Rows that share a folder may share its other
    modules, which know no row. The module that holds the table, and the package's face, know all rows.
    """
    known = tuple(modules)
    rows = table_rows(known, package, table)
    holders = {module.name for module in known if _assigned(module.tree, table)}
    found = []
    for module in known:
        if module.name in holders or not module.name.startswith(f"{package}."):
            continue
        own = _row_of(module.name, package, rows)
        others = ((item, _row_of(item.target, package, rows)) for item in module.imports)
        found += [
            module.finding(item.line, f"{_short(own or module.name, package)} imports {_short(other, package)}")
            for item, other in others
            if other and other != own and (own or _folder_of(module.name) == _folder_of(other) != package)
        ]
    return found


def table_rows(modules: Iterable[Module], package: str, table: str) -> frozenset[str]:
    """
    Return the full dotted names of the rows' modules in *package*, SHARED apart.

    A table whose rows are imported when they are first used names their modules in strings: those count too.
    """
    known = tuple(modules)
    dotted = {module.name for module in known}
    names: set[str] = set()
    for module in known:
        if unit_of(module.name) == unit_of(package) and (assigned := _assigned(module.tree, table)):
            below = {_module_of(item.target, dotted) for item in module.imports if item.is_below(package)}
            below |= dotted.intersection(f"{package}.{text}" for text in _texts(assigned))
            names |= {name for name in below if name != package and _short(name, package) not in SHARED}
    # A row's own name, such as `comfyui`, may be the name of its folder too: the module in it is the row.
    return frozenset(name for name in names if not any(other.startswith(f"{name}.") for other in names))


def _module_of(target: str, dotted: set[str]) -> str:
    """Return the module that an imported name is, or is in; the name itself where it is a folder of no module."""
    return next((name for name in (target, target.rpartition(".")[0]) if name in dotted), target)


def _short(name: str, package: str) -> str:
    return name.removeprefix(f"{package}.")


def _assigned(tree: ast.Module, name: str) -> ast.expr | None:
    """Return what the module assigns to *name* at its top."""
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets += [node.target] if isinstance(node, ast.AnnAssign) else []
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
    return None


def _texts(tree: ast.expr) -> Iterator[str]:
    return (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))


def _row_of(dotted: str, package: str, rows: frozenset[str]) -> str | None:
    """Return the row that *dotted* is, or is a part of."""
    owners = [row for row in rows if _is_below(dotted, row) or dotted.startswith(f"{row}_")]
    folders = [_folder_of(row) for row in rows]
    for row in rows:
        folder = _folder_of(row)
        if (
            folder != package
            and folders.count(folder) == 1
            and (_is_below(dotted, folder) or dotted.startswith(f"{folder}_"))
        ):
            owners.append(row)
    return max(owners, key=len, default=None)


def _folder_of(dotted: str) -> str:
    return dotted.rpartition(".")[0]


def _is_below(dotted: str, root: str) -> bool:
    return dotted == root or dotted.startswith(f"{root}.")


def readers_of_the_environment(modules: Iterable[Module]) -> list[str]:
    """
    Find os.environ, os.getenv and their kin outside settings/_worker.py.

    handler.py may call `os.environ.setdefault`: it reads nothing of ours, and the SDK looks while it is imported.
    """
    found = []
    for module in modules:
        if module.name == "wanworker.settings._worker":
            continue
        allowed = set(_setdefault_calls(module.tree)) if module.name == "handler" else set()
        found += [
            module.finding(node.lineno, f"os.{node.attr} is read in settings/_worker.py only")
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Attribute) and node.attr in ENVIRONMENT and ast.unparse(node.value) == "os"
            if node not in allowed
        ]
        found += [
            module.finding(item.line, f"{item.target} is read in settings/_worker.py only")
            for item in module.imports
            if item.target in {f"os.{name}" for name in ENVIRONMENT}
        ]
    return found


def _setdefault_calls(tree: ast.Module) -> Iterator[ast.expr]:
    """Yield the `os.environ` of each statement that is `os.environ.setdefault(...)` and nothing more."""
    for node in ast.walk(tree):
        call = node.value if isinstance(node, ast.Expr) else None
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "setdefault":
            yield call.func.value


def imports_outside_their_place(modules: Iterable[Module]) -> list[str]:
    """Find torch and its kin outside the resident engine's child, runpod outside handler.py, typer outside cli/."""
    found = []
    for module in modules:
        for item in module.imports:
            root = item.target.split(".")[0]
            if _is_out_of_place(root, module):
                found.append(module.finding(item.line, f"{root} is not imported here"))
    return found


def _is_out_of_place(root: str, module: Module) -> bool:
    return (
        (root in TORCH and not _is_resident(module.name))
        or (root == "runpod" and module.name != "handler")
        or (root in TERMINAL and module.unit != "cli")
    )


def _is_resident(name: str) -> bool:
    return name == CHILD or name.startswith(f"{CHILD}.")


def users_of_settings_below(modules: Iterable[Module]) -> list[str]:
    """Find comfyui, jobs and media modules that take Settings where plain values are due."""
    return [
        module.finding(item.line, f"{module.unit} takes plain values, not Settings")
        for module in modules
        if module.unit in PLAIN_VALUES
        for item in module.imports
        if item.target in {"wanworker.settings", "wanworker.settings.Settings", "wanworker.settings.load_settings"}
    ]


def child_modules(modules: Iterable[Module]) -> frozenset[str]:
    """Return the modules that only the resident engine's child may load: its own, what imports torch, and so on."""
    known = {module.name: module for module in modules}
    found = {name for name, module in known.items() if any(item.is_below(*TORCH) for item in module.imports)}
    found |= {name for name in known if _is_resident(name)}
    while True:
        more = {name for name, module in known.items() if any(item.is_below(*found) for item in module.imports)}
        if more <= found:
            return frozenset(found)
        found |= more


def child_leaks(modules: Iterable[Module]) -> list[str]:
    """Find modules outside the resident engine's package from which some path of imports leads to torch."""
    known = tuple(modules)
    child = child_modules(known)
    leaks = (module for module in known if module.name in child and not _is_resident(module.name))
    return [module.finding(1, "loads what only the child may load") for module in leaks]


def slow_imports_at_start(modules: Iterable[Module]) -> list[str]:
    """Find imports that cost the worker its start: at module level, in a module that the worker itself loads."""
    known = tuple(modules)
    child = child_modules(known)
    return [
        module.finding(item.line, f"{item.target.split('.')[0]} belongs inside the function that needs it")
        for module in known
        if module.name not in child
        for item in module.imports
        if item.at_start and item.is_below(*SLOW)
    ]


def prints(modules: Iterable[Module]) -> list[str]:
    """Find calls of print outside the command line."""
    return [
        module.finding(node.lineno, "print is for cli/ only; log, return or raise")
        for module in modules
        if module.unit != "cli"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]


def modules_too_long(modules: Iterable[Module], most: int, most_in_handler: int) -> list[str]:
    """Find modules of more than *most* lines, and a handler.py of more than *most_in_handler*."""
    limits = ((module, most_in_handler if module.name == "handler" else most) for module in modules)
    return [
        module.finding(limit, f"{module.line_count} lines, at most {limit}")
        for module, limit in limits
        if module.line_count > limit
    ]


def private_modules_used_from_outside(modules: Iterable[Module]) -> list[str]:
    """Find imports of a module that begins with an underscore by a module outside its folder and those below it."""
    known = tuple(modules)
    private = {module.name: module for module in known if _is_private(module)}
    found = []
    for module in known:
        for item in module.imports:
            target = next((name for name in private if item.is_below(name)), None)
            if target and not _is_at_or_below(module, _folder(private[target])):
                found.append(module.finding(item.line, f"{target} is private to its folder"))
    return found


def public_modules_used_inside_only(modules: Iterable[Module], named: frozenset[str]) -> list[str]:
    """
    Find modules without an underscore that only their own folder, or folders below it, imports.

    Public all the same are: what *named* holds by its dotted name (rows of a table that are named in a string, pages
    that tell how to extend), `__main__`, a package's face, and what nobody imports (an entry point).
    """
    known = tuple(modules)
    found = []
    for module in known:
        if _is_private(module) or module.name in named or _is_top_or_face(module):
            continue
        users = [user for user in known if user is not module and any(i.is_below(module.name) for i in user.imports)]
        if users and all(_is_at_or_below(user, _folder(module)) for user in users):
            found.append(module.finding(1, "only its own folder imports it: its name must begin with an underscore"))
    return found


def folders_too_full(modules: Iterable[Module], most: int) -> list[str]:
    """Find folders with more than *most* modules of their own, the package's face apart."""
    count: dict[str, int] = {}
    for module in modules:
        if module.name != "handler" and not module.path.endswith("__init__.py"):
            count[_folder(module)] = count.get(_folder(module), 0) + 1
    return [f"{folder}: {number} modules, at most {most}" for folder, number in sorted(count.items()) if number > most]


def imports_against_the_order(modules: Iterable[Module]) -> list[str]:
    """Find imports inside a folder of ORDER that point to a higher room, or to another of the same height."""
    found = []
    for module in modules:
        for folder, order in ORDER.items():
            own = _room(module.name, folder)
            rooms = ((item, _room(item.target, folder)) for item in module.imports)
            found += [
                module.finding(item.line, f"{folder}: {own} imports {room}")
                for item, room in rooms
                if own in order and room in order and room != own and order[room] >= order[own]
            ]
    return found


def _room(dotted: str, folder: str) -> str | None:
    """Return `client` for `wanworker.comfyui.client.http` in `comfyui`, None for what is not in the folder."""
    root = f"{PACKAGE}.{folder.replace('/', '.')}."
    return dotted.removeprefix(root).split(".")[0] if dotted.startswith(root) else None


def _folder(module: Module) -> str:
    return module.path.rpartition("/")[0]


def _is_private(module: Module) -> bool:
    name = module.path.rpartition("/")[2]
    return name.startswith("_") and not name.startswith("__")


def _is_top_or_face(module: Module) -> bool:
    return _folder(module) in {"", "src/wanworker"} or module.path.endswith(("__init__.py", "__main__.py"))


def _is_at_or_below(module: Module, folder: str) -> bool:
    return f"{module.path}/".startswith(f"{folder}/")
