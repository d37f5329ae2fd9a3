"""Our own source obeys the rules of DESIGN.md section 2, and each rule can fail."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import boundaries
from source import Module, read_modules
from wanworker import engines

ROOT = Path(__file__).resolve().parent.parent
ACTIONS = ("wanworker.actions", "ACTIONS")
ENGINES = ("wanworker.engines", "ENGINES")


@pytest.fixture(scope="module")
def ours() -> tuple[Module, ...]:
    return read_modules(ROOT)


def tree(root: Path, files: dict[str, str]) -> tuple[Module, ...]:
    """Write *files* (path below src/wanworker, or handler.py) and read them as modules."""
    for name, text in files.items():
        path = root / name if name == "handler.py" else root / "src" / "wanworker" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return read_modules(root)


def test_imports_point_down_only(ours: tuple[Module, ...]) -> None:
    assert [] == boundaries.imports_that_point_up(ours)


def test_doors_do_not_know_each_other(ours: tuple[Module, ...]) -> None:
    assert [] == boundaries.doors_that_know_each_other(ours)


def test_logs_are_set_up_by_doors_only(ours: tuple[Module, ...]) -> None:
    assert [] == boundaries.imports_of_logs(ours)


@pytest.mark.parametrize(("package", "table"), [ACTIONS, ENGINES])
def test_no_row_of_a_table_imports_another(ours: tuple[Module, ...], package: str, table: str) -> None:
    assert [] == boundaries.rows_that_know_each_other(ours, package, table)


def test_every_engine_is_known_as_one_though_it_is_imported_when_it_is_first_used(ours: tuple[Module, ...]) -> None:
    found = boundaries.table_rows(ours, *ENGINES)

    assert sorted(row.name for row in engines.ENGINES) == sorted(name.split(".")[2] for name in found)


def test_only_settings_reads_the_environment(ours: tuple[Module, ...]) -> None:
    assert [] == boundaries.readers_of_the_environment(ours)


def test_torch_runpod_and_typer_are_imported_in_their_places_only(ours: tuple[Module, ...]) -> None:
    assert [] == boundaries.imports_outside_their_place(ours)


def test_no_path_of_imports_leads_the_worker_to_torch(ours: tuple[Module, ...]) -> None:
    assert [] == boundaries.child_leaks(ours)


def test_lower_modules_take_plain_values(ours: tuple[Module, ...]) -> None:
    assert [] == boundaries.users_of_settings_below(ours)


def test_nothing_slow_is_imported_at_the_start(ours: tuple[Module, ...]) -> None:
    assert [] == boundaries.slow_imports_at_start(ours)


def test_only_the_command_line_prints(ours: tuple[Module, ...]) -> None:
    assert [] == boundaries.prints(ours)


def test_modules_stay_short(ours: tuple[Module, ...]) -> None:
    assert [] == boundaries.modules_too_long(ours, most=300, most_in_handler=40)


def named_elsewhere(ours: tuple[Module, ...]) -> frozenset[str]:
    """Return the modules that are public whoever imports them: rows of a table, and what pages on extending name."""
    text = "".join(path.read_text() for path in ROOT.glob(boundaries.EXTENSION_PAGES))
    paths = re.findall(r"src/(wanworker/[\w/]+)\.py", text)
    rows = boundaries.table_rows(ours, *ACTIONS) | boundaries.table_rows(ours, *ENGINES)
    return rows | {path.replace("/", ".") for path in paths}


def test_private_modules_are_used_by_their_own_folder_only(ours: tuple[Module, ...]) -> None:
    assert [] == boundaries.private_modules_used_from_outside(ours)


def test_a_module_that_only_its_folder_uses_is_private(ours: tuple[Module, ...]) -> None:
    assert [] == boundaries.public_modules_used_inside_only(ours, named_elsewhere(ours))


def test_no_folder_has_more_than_ten_modules_of_its_own(ours: tuple[Module, ...]) -> None:
    assert [] == boundaries.folders_too_full(ours, most=10)


def test_data_walks_one_way_inside_each_folder(ours: tuple[Module, ...]) -> None:
    assert [] == boundaries.imports_against_the_order(ours)


def test_the_drawing_has_every_layer_in_its_place() -> None:
    page = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    drawing = page.partition("```\nhandler.py")[2].partition("```")[0]
    drawn = {
        name.removesuffix(".py"): number
        for number, line in enumerate(f"handler.py{drawing}".splitlines())
        for name in re.split(r"\s{3,}", line.partition(" " * 10)[0])
    }

    named = {name: layer for name, layer in boundaries.LAYERS.items() if name != "__main__"}
    assert set(named) == set(drawn)
    assert sorted(named, key=lambda name: (drawn[name], name)) == sorted(named, key=lambda name: (-named[name], name))


def test_every_room_of_the_order_exists() -> None:
    rooms = [Path("src/wanworker", unit, room) for unit, rooms in boundaries.ORDER.items() for room in rooms]

    assert [] == [str(room) for room in rooms if not ((ROOT / room).is_dir() or (ROOT / f"{room}.py").is_file())]


def test_a_private_module_that_another_folder_uses_is_found(tmp_path: Path) -> None:
    files = {
        "media/video/_frames.py": "",
        "media/video/sheet.py": "from wanworker.media.video import _frames",
        "media/video/deep/sheet.py": "from wanworker.media.video._frames import read",
        "media/threads.py": "from wanworker.media.video._frames import read",
    }

    (line,) = boundaries.private_modules_used_from_outside(tree(tmp_path, files))

    assert line.startswith("src/wanworker/media/threads.py:1:")


def test_a_public_module_that_only_its_folder_uses_is_found(tmp_path: Path) -> None:
    files = {
        "media/video/frames.py": "",
        "media/video/mp4.py": "",
        "media/video/entry.py": "from wanworker.media.video import frames, mp4",
        "jobs/model.py": "from wanworker.media.video.mp4 import read",
    }
    modules = tree(tmp_path, files)

    (line,) = boundaries.public_modules_used_inside_only(modules, frozenset())

    assert line.startswith("src/wanworker/media/video/frames.py:1:")
    assert [] == boundaries.public_modules_used_inside_only(modules, frozenset({"wanworker.media.video.frames"}))


def test_a_folder_that_is_too_full_is_found(tmp_path: Path) -> None:
    files = {f"media/part_{number}.py": "" for number in range(3)} | {"media/__init__.py": ""}

    found = boundaries.folders_too_full(tree(tmp_path, files), most=2)

    assert ["src/wanworker/media: 3 modules, at most 2"] == found


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("comfyui/graph/api_format.py", "from wanworker.comfyui.client import http"),
        ("comfyui/client/http.py", "from wanworker.comfyui.ui_workflow.convert import convert"),
        ("media/threads.py", "def f():\n    from wanworker.media.inputs import reader"),
        ("comfyui/run/monitor.py", "from wanworker.comfyui.server.supervisor import Server"),
        ("engines/resident/parent/start.py", "from wanworker.engines.resident.child import _job"),
    ],
)
def test_an_import_against_the_order_of_its_folder_is_found(tmp_path: Path, path: str, text: str) -> None:
    assert 1 == len(boundaries.imports_against_the_order(tree(tmp_path, {path: text})))


def test_loading_every_module_of_the_worker_loads_nothing_heavy(ours: tuple[Module, ...]) -> None:
    child = boundaries.child_modules(ours)
    names = [module.name for module in ours if module.name not in {*child, "handler"}]
    names = [name for name in names if not name.endswith("__main__")]
    code = (
        "import importlib, json, sys\n"
        "for name in json.loads(sys.argv[1]): importlib.import_module(name)\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    argv = [sys.executable, "-c", code, json.dumps(names)]

    loaded = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=ROOT, env={"PYTHONPATH": "src"})

    assert "wanworker.spec" in names
    assert set() == boundaries.SLOW.intersection(json.loads(loaded.stdout))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("errors.py", "from wanworker.spec import Size"),
        ("spec.py", "import wanworker.settings"),
        ("media/video/writer.py", "def f():\n    from wanworker.jobs.store.job_store import JobStore"),
        ("media/video/writer.py", "from ...models import hardware"),
        ("engines/base.py", "from wanworker import render"),
        ("render.py", "from wanworker.serverless.answer import fit"),
        ("__init__.py", "from wanworker.errors import WorkerError"),
    ],
)
def test_an_import_that_points_up_or_aside_is_found(tmp_path: Path, path: str, text: str) -> None:
    (line,) = boundaries.imports_that_point_up(tree(tmp_path, {path: text}))

    assert line.startswith(f"src/wanworker/{path}:{len(text.splitlines())}: ")


def test_a_file_without_a_layer_is_found(tmp_path: Path) -> None:
    (line,) = boundaries.imports_that_point_up(tree(tmp_path, {"helpers.py": ""}))

    assert "'helpers' has no layer" in line


def test_an_import_that_points_down_is_no_finding(tmp_path: Path) -> None:
    files = {
        "handler.py": "import wanworker\nfrom wanworker import app, logs",
        "app.py": "from wanworker.actions.table import ACTIONS",
        "engines/mini.py": "from . import base\nfrom ..spec import Size\nimport wanworker.errors",
    }

    assert [] == boundaries.imports_that_point_up(tree(tmp_path, files))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("rest/_app.py", "from wanworker.cli import show"),
        ("cli/run.py", "import handler"),
        ("handler.py", "import wanworker.rest"),
    ],
)
def test_a_door_that_imports_another_is_found(tmp_path: Path, path: str, text: str) -> None:
    assert 1 == len(boundaries.doors_that_know_each_other(tree(tmp_path, {path: text})))


def test_an_import_of_logs_from_below_is_found(tmp_path: Path) -> None:
    files = {"render.py": "from wanworker import logs", "app.py": "from wanworker import logs"}

    (line,) = boundaries.imports_of_logs(tree(tmp_path, files))

    assert "src/wanworker/render.py:1: render imports logs" == line


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("engines/mini.py", "from wanworker.engines.wan_cli.engine import WanCli"),
        ("engines/mini.py", "from wanworker.engines import wan_cli_flags"),
        ("engines/wan_cli_flags.py", "def f():\n    import wanworker.engines.mini"),
        ("engines/wan_cli/argv.py", "def f():\n    import wanworker.engines.mini"),
    ],
)
@pytest.mark.parametrize(
    "table",
    [
        "from wanworker.engines import base, mini, wan_cli\nENGINES: tuple = ()",
        "ENGINES = (built_by('mini', 'Mini'), built_by('wan_cli.engine', 'WanCli'))",
    ],
)
def test_an_engine_that_imports_another_is_found(tmp_path: Path, table: str, path: str, text: str) -> None:
    files = {"engines/mini.py": "", "engines/wan_cli/engine.py": "", "engines/table.py": table, path: text}

    assert 1 == len(boundaries.rows_that_know_each_other(tree(tmp_path, files), *ENGINES))


def test_engines_may_share_the_base_and_what_is_no_engine(tmp_path: Path) -> None:
    files = {
        "engines/__init__.py": "from wanworker.engines import base, mini, wan_cli\nENGINES = ()",
        "engines/mini.py": "from wanworker.engines import base\nfrom wanworker.engines.resident import supervisor",
        "engines/wan_cli/engine.py": "from wanworker.engines import base\nfrom wanworker.engines.wan_cli import argv",
    }

    assert [] == boundaries.rows_that_know_each_other(tree(tmp_path, files), *ENGINES)


@pytest.mark.parametrize("path", ["actions/comfyui/i2v.py", "actions/comfyui/_answer.py"])
def test_an_action_of_the_same_folder_that_is_imported_is_found(tmp_path: Path, path: str) -> None:
    files = {
        "actions/__init__.py": "from wanworker.actions.comfyui import i2v, workflow\nACTIONS = ()",
        "actions/comfyui/workflow.py": "from wanworker.actions.comfyui import _answer",
        "actions/comfyui/i2v.py": "",
        "actions/comfyui/_answer.py": "",
        path: "from wanworker.actions.comfyui.workflow import run",
    }

    assert 1 == len(boundaries.rows_that_know_each_other(tree(tmp_path, files), *ACTIONS))


def test_an_action_that_imports_another_is_found(tmp_path: Path) -> None:
    files = {
        "actions/table.py": "from wanworker.actions import generate, status\nACTIONS = {}",
        "actions/status.py": "from wanworker.actions.generate.action import run",
    }

    (line,) = boundaries.rows_that_know_each_other(tree(tmp_path, files), *ACTIONS)

    assert "src/wanworker/actions/status.py:1: status imports generate" == line


@pytest.mark.parametrize(
    "text",
    ["import os\nos.environ['A']", "import os\nos.getenv('A')", "from os import environ", "from os import getenv"],
)
def test_a_reader_of_the_environment_is_found(tmp_path: Path, text: str) -> None:
    files = {"process/_program.py": text, "settings/_worker.py": text}

    (line,) = boundaries.readers_of_the_environment(tree(tmp_path, files))

    assert line.startswith("src/wanworker/process/_program.py:")


def test_the_handler_may_set_what_the_sdk_reads_and_read_nothing(tmp_path: Path) -> None:
    text = "import os\nos.environ.setdefault('A', 'b')\nlevel = os.environ.setdefault('B', 'c')\nos.environ['C']"

    found = boundaries.readers_of_the_environment(tree(tmp_path, {"handler.py": text, "app.py": text}))

    assert {"handler.py:3", "handler.py:4"} == {line.rpartition(":")[0] for line in found if line.startswith("handler")}
    assert 3 == len([line for line in found if "app.py" in line])


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("models/machine/hardware.py", "def f():\n    import torch"),
        ("engines/mini.py", "from diffusers import WanPipeline"),
        ("app.py", "import runpod.serverless"),
        ("models/machine/doctor.py", "def f():\n    from rich.table import Table"),
        ("rest/_app.py", "import typer"),
        ("engines/resident/child/__main__.py", "import runpod"),
    ],
)
def test_an_import_outside_its_place_is_found(tmp_path: Path, path: str, text: str) -> None:
    assert 1 == len(boundaries.imports_outside_their_place(tree(tmp_path, {path: text})))


def test_torch_in_the_child_and_runpod_in_the_handler_are_in_place(tmp_path: Path) -> None:
    files = {"handler.py": "import runpod", "engines/resident/child/__main__.py": "import torch"}

    assert [] == boundaries.imports_outside_their_place(tree(tmp_path, files))


def test_a_lower_module_that_takes_settings_is_found(tmp_path: Path) -> None:
    files = {
        "media/inputs/reader.py": "from wanworker.settings import Settings",
        "media/video/writer.py": "from wanworker.settings import child_environment",
        "engines/mini.py": "from wanworker.settings import Settings",
    }

    (line,) = boundaries.users_of_settings_below(tree(tmp_path, files))

    assert line.startswith("src/wanworker/media/inputs/reader.py:1:")


def test_a_slow_import_at_module_level_is_found(tmp_path: Path) -> None:
    files = {
        "media/video/writer.py": "import numpy as np",
        "media/sheet.py": "def f():\n    from PIL import Image",
        "media/kinds.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import numpy",
        "engines/resident/child/pipelines.py": "import numpy, torch",
        "engines/resident/child/job.py": "import numpy\nfrom wanworker.engines.resident.child.pipelines import load",
    }

    (line,) = boundaries.slow_imports_at_start(tree(tmp_path, files))

    assert line.startswith("src/wanworker/media/video/writer.py:1: numpy")


def test_a_module_of_the_worker_that_loads_the_childs_is_found(tmp_path: Path) -> None:
    files = {
        "engines/resident/child/pipelines.py": "def load():\n    import torch",
        "engines/mini.py": "from wanworker.engines.resident.child.pipelines import load",
        "engines/wan_cli/engine.py": "",
    }

    modules = tree(tmp_path, files)

    assert {"wanworker.engines.resident.child.pipelines", "wanworker.engines.mini"} == boundaries.child_modules(modules)
    assert ["src/wanworker/engines/mini.py:1: loads what only the child may load"] == boundaries.child_leaks(modules)


def test_a_print_outside_the_command_line_is_found(tmp_path: Path) -> None:
    files = {"render.py": "print('done')", "cli/commands/run_handler.py": "print('done')"}

    (line,) = boundaries.prints(tree(tmp_path, files))

    assert line.startswith("src/wanworker/render.py:1:")


def test_a_module_that_is_too_long_is_found(tmp_path: Path) -> None:
    files = {"handler.py": "#\n" * 41, "render.py": "#\n" * 301, "app.py": "#\n" * 300}

    found = boundaries.modules_too_long(tree(tmp_path, files), most=300, most_in_handler=40)

    assert ["src/wanworker/render.py:300: 301 lines, at most 300", "handler.py:40: 41 lines, at most 40"] == found
