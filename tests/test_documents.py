"""The pages say what the code does: their tables, examples, links and paths are held against it."""

from __future__ import annotations

import difflib
import http.server
import json
import re
import shutil
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

import pages
import wanworker
import write_pages
from fakes.comfyui_recordings import video_graph
from fakes.comfyui_rules import recorded_object_info
from page_tables import ranges_table, settings_table
from pages import ROOT
from source import read_modules
from wanworker.actions import ACTIONS
from wanworker.actions.comfyui._i2v_request import I2vRequest
from wanworker.actions.comfyui._inputs import checked_inputs
from wanworker.actions.comfyui._workflow_files import WorkflowFiles
from wanworker.actions.comfyui.workflow import WorkflowRequest
from wanworker.actions.envelope import resolve
from wanworker.actions.generate.request import GenerateRequest
from wanworker.actions.request.fields import parse
from wanworker.comfyui.graph.api_format import read_graph
from wanworker.comfyui.graph.preflight import check
from wanworker.comfyui.graph.problems import as_error
from wanworker.comfyui.graph.slots import with_slots
from wanworker.engines.base import EngineRow
from wanworker.media.video.writer import decode_check
from wanworker.settings import Settings
from wanworker.spec import RenderSpec, Size
from wanworker.videos.request import VideoBody
from write_pages import REQUESTS

PAGES = pytest.mark.parametrize("path", pages.pages(), ids=lambda path: str(path.relative_to(ROOT)))

WORKFLOW_TABLE = "src/wanworker/engines/comfyui/graphs/table.py"

#: Packages that only diffusers imports: for big models, for LoRAs, for clean prompts.
NEEDED_UNSEEN = {"accelerate", "ftfy"}
DISTRIBUTIONS = {"PIL": "pillow", "imageio_ffmpeg": "imageio-ffmpeg", "prometheus_client": "prometheus-client",
                 "pydantic_core": "pydantic"}  # fmt: skip


def holds(page: str, expected: str) -> None:
    """Fail with the table to paste when *page* does not hold it."""
    text = (ROOT / page).read_text()
    if expected not in text:
        pytest.fail(f"{page} must hold this table:\n\n{expected}\n", pytrace=False)


@PAGES
def test_parts_written_from_the_code_are_what_the_code_says(path: Path) -> None:
    text = path.read_text()
    if (expected := write_pages.written(text)) != text:
        wrong = difflib.unified_diff(text.splitlines(), expected.splitlines(), "page", "code", n=0, lineterm="")
        pytest.fail("\n".join([f"run {write_pages.COMMAND}", *wrong]), pytrace=False)


def test_every_part_is_on_some_page_once() -> None:
    names = [name for path in pages.pages() for name in pages.generated(path.read_text())]

    assert sorted(write_pages.PARTS) == sorted(names)


def test_the_command_of_contributing_md_changes_nothing_that_is_right(tmp_path: Path) -> None:
    (block,) = (block for block in pages.all_blocks("CONTRIBUTING.md") if block.heading == "Documents")
    assert f"{write_pages.COMMAND}\n" == block.text
    for folder in ("tests", "docs"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "images"))
    for name in ("src", "scripts", "handler.py", "workflows"):
        (tmp_path / name).symlink_to(ROOT / name)
    page = tmp_path / "docs" / "api.md"
    page.write_text(page.read_text().replace("Makes a video.", "Bakes a cake."))
    command = block.text.replace(".venv/bin/python", f'"{sys.executable}"')
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=60)

    assert (0, "docs/api.md\n") == (done.returncode, done.stdout), done.stderr
    assert pages.read("docs/api.md") == page.read_text()


@pytest.mark.parametrize("name", sorted(REQUESTS))
def test_every_action_has_its_section(name: str) -> None:
    assert name in pages.anchors(pages.read("docs/api.md"))


def test_a_part_that_is_not_the_codes_is_rewritten() -> None:
    page = "# A\n\n<!-- generated: ranges -->\n| old |\n<!-- end -->\n\nWords.\n"
    rewritten = write_pages.written(page)

    assert ["ranges"] == pages.generated(page)
    assert f"# A\n\n<!-- generated: ranges -->\n{ranges_table()}\n<!-- end -->\n\nWords.\n" == rewritten
    assert rewritten == write_pages.written(rewritten)


def _changed(node: str, **inputs: object) -> dict[str, Any]:
    graph = video_graph()
    graph[node]["inputs"] |= inputs
    return graph


#: What docs/comfyui.md says is wrong -> a graph that is wrong in this way.
REFUSED = {
    "No node saves a file": {name: node for name, node in video_graph().items() if name != "3"},
    "An unknown node class": {**video_graph(), "3": {"class_type": "SaveVideos", "inputs": {"video": ["2", 0]}}},
    "A number out of range": _changed("1", width=0),
    "An unknown choice": _changed("3", codec="avi"),
    "A link of another type": _changed("3", video=["1", 0]),
    "A link to nowhere": _changed("2", images=["9", 0]),
    "Missing weights": {
        "1": {"class_type": "VAELoader", "inputs": {"vae_name": "wan_2.2_vae.safetensors"}},
        "2": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        "3": {"class_type": "VAEDecode", "inputs": {"samples": ["2", 0], "vae": ["1", 0]}},
        "4": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "x"}},
    },
}


def test_comfyui_md_quotes_what_a_refused_graph_is_told() -> None:
    info = recorded_object_info()
    told = {
        what: as_error(check(graph, info).problems, models_place="/workspace/models/")
        for what, graph in REFUSED.items()
    }
    rows = ((what, f"`{error.code}`", f"`{error}`") for what, error in told.items())

    holds("docs/comfyui.md", pages.table("What is wrong|Code|Error", rows))


def test_a_table_that_is_not_the_codes_is_found() -> None:
    with pytest.raises(pytest.fail.Exception, match=r"README\.md must hold this table"):
        holds("README.md", settings_table())


@PAGES
def test_links_lead_somewhere(path: Path) -> None:
    for target in pages.links(path.read_text()):
        name, _, anchor = target.partition("#")
        page = path.parent / name if name else path
        assert page.exists(), target
        assert not anchor or anchor in pages.anchors(page.read_text()), target


@PAGES
def test_paths_that_a_page_names_exist(path: Path) -> None:
    assert [] == [name for name in pages.paths_named(path.read_text()) if not (ROOT / name).exists()]


@PAGES
def test_no_page_names_this_machine_or_a_registry(path: Path) -> None:
    text = path.read_text()

    assert None is re.search(r"/work/|/tmp/|/root/|pypi\.org|files\.pythonhosted", text)
    assert text.isascii()


def json_examples() -> Iterator[Any]:
    for path in pages.pages():
        text = path.read_text()
        bodies = re.findall(r"(?:-d|--test_input) '(\{.*?\})'", text, re.DOTALL)
        for number, body in enumerate([*pages.blocks(text, "json"), *bodies]):
            yield pytest.param(body, id=f"{path.relative_to(ROOT)}-{number}")


@pytest.mark.parametrize("text", [*json_examples()])
def test_a_json_example_is_json_and_a_request_is_understood_in_full(text: str) -> None:
    example = json.loads(text)
    if "input" in example:
        understood(example["input"])


def test_test_input_json_is_understood_in_full_and_returns_no_base64() -> None:
    payload = json.loads((ROOT / "test_input.json").read_text())["input"]

    understood(payload)
    assert payload["return_video"] is False


def understood(payload: dict[str, Any]) -> None:
    if "openai_route" in payload:
        _, warnings = parse(VideoBody, payload["openai_input"])
        assert [] == warnings
        return
    action, fields = resolve(payload, ACTIONS)
    request, warnings = parse(REQUESTS[action.name], fields)
    assert [] == warnings
    if isinstance(request, GenerateRequest):
        task = request.checked_task()
        request.checked_size()
        assert request.checked_frames(task, warnings) is None or [] == warnings
    if isinstance(request, I2vRequest):
        request.checked_image()
        request.to_spec(warnings)
        assert [] == warnings
    if isinstance(request, WorkflowRequest):
        checked_inputs(images=request.images, audio=request.audio, videos=request.videos)
        named = request.reference()
        document = WorkflowFiles(Settings()).named(named).read() if named else request.document()
        graph = with_slots(read_graph(document), request.slots or {}, recorded_object_info()).graph
        # The recorded server does not have the weights of every workflow of ours.
        problems = check(graph, recorded_object_info()).problems
        assert [] == [problem for problem in problems if not (named and problem.missing_model)]


def test_the_client_made_of_requests_waits_and_saves_the_video(tmp_path: Path) -> None:
    answers: list[dict[str, Any]] = [
        {"id": "job-1", "status": "IN_QUEUE"},
        {"id": "job-1", "status": "IN_PROGRESS", "output": {"progress": 40, "stage": "sampling"}},
        {"id": "job-1", "status": "COMPLETED", "output": {"result": {
            "filename": "job-1.mp4", "data": "data:video/mp4;base64,bXA0"}}},
    ]  # fmt: skip
    (client,) = (text for text in pages.blocks(pages.read("docs/api.md"), "python") if "import requests" in text)
    with endpoint(answers) as (url, asked):
        client = client.replace("time.sleep(2)", "time.sleep(0)")
        env = {"ENDPOINT_URL": f"{url}/abc", "RUNPOD_API_KEY": "key"}
        done = subprocess.run([sys.executable, "-c", client], cwd=tmp_path, env=env, capture_output=True, text=True)

    assert 0 == done.returncode, done.stderr
    assert b"mp4" == (tmp_path / "job-1.mp4").read_bytes()
    assert ["POST /abc/run Bearer key", *["GET /abc/status/job-1 Bearer key"] * 2] == asked


@contextmanager
def endpoint(answers: list[dict[str, Any]]) -> Iterator[tuple[str, list[str]]]:
    """Serve *answers* in their order on loopback; yield the address and what was asked."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.command} {self.path} {self.headers['Authorization']}")
            body = json.dumps(answers[len(asked) - 1]).encode()
            if length := self.headers["Content-Length"]:
                understood(json.loads(self.rfile.read(int(length)))["input"])
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - the names that http.server looks for

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


def walk_through(page: str) -> dict[str, Any]:
    """Run the one block of Python on *page* and return what it defines."""
    (block,) = pages.blocks((ROOT / "docs" / page).read_text(), "python")
    namespace: dict[str, Any] = {"__name__": page}
    exec(compile(block, page, "exec"), namespace)
    return namespace


def table_with(row: str) -> str:
    """Return the table of workflows with *row* added, as docs/adding-a-workflow.md says."""
    head, end, tail = (ROOT / WORKFLOW_TABLE).read_text().partition("\n)  # fmt: skip\n")
    return f"{head}\n{textwrap.indent(row, ' ' * 4).rstrip()},{end}{tail}"


@pytest.mark.parametrize(
    ("page", "path", "placed"),
    [
        ("adding-an-action.md", "src/wanworker/actions/list_tasks.py", str),
        ("adding-an-engine.md", "src/wanworker/engines/still.py", str),
        ("adding-a-workflow.md", WORKFLOW_TABLE, table_with),
    ],
)
@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=" ".join)
def test_the_code_of_a_walk_through_passes_ruff_where_the_page_puts_it(
    page: str, path: str, placed: Callable[[str], str], command: list[str]
) -> None:
    (code,) = pages.blocks(pages.read(f"docs/{page}"), "python")
    argv = [sys.executable, "-m", "ruff", *command, "--stdin-filename", path, "-"]
    done = subprocess.run(argv, cwd=ROOT, input=placed(code), capture_output=True, text=True)

    assert 0 == done.returncode, done.stdout + done.stderr


async def test_the_action_of_the_walk_through_answers() -> None:
    action, fields = resolve(
        {"action": "list_tasks", "needs_image": False}, [walk_through("adding-an-action.md")["ACTION"]]
    )

    assert {"tasks": ["t2v-A14B", "ti2v-5B", "vace-A14B", "v2v-A14B"]} == await action.run(fields, None)  # type: ignore[arg-type]


async def test_the_engine_of_the_walk_through_renders(tmp_path: Path, settings: Settings) -> None:
    still = walk_through("adding-an-engine.md")
    row = EngineRow("still", still["CAPABILITIES"], still["StillEngine"])
    spec = RenderSpec("t2v-A14B", "grey", Size(64, 48), True, 8.0, True, seed=1, frames=5)
    target = tmp_path / "still.mp4"

    await row.build(settings).render(spec, target, work_dir=tmp_path, report=lambda _: None)

    facts = await decode_check(target)
    assert (64, 48, 5, 8.0) == (facts.width, facts.height, facts.frames, facts.fps)


def test_requirements_are_what_the_source_imports() -> None:
    standard = sys.stdlib_module_names | {"wanworker", ""}
    imported = {item.target.split(".")[0] for module in read_modules(ROOT) for item in module.imports}
    wanted = {DISTRIBUTIONS.get(name, name) for name in imported - standard} | NEEDED_UNSEEN
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    listed = {re.split(r"[<>=\[]", line)[0] for line in lines if line and not line.startswith("#")}

    assert wanted == listed


def test_the_version_is_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert wanworker.__version__ == project["version"]
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text()


def test_every_variable_of_ours_is_written_as_people_write_it() -> None:
    names = [str(field.validation_alias) for field in Settings.model_fields.values()]

    assert [] == [name for name in names if not re.fullmatch(r"[A-Z][A-Z0-9_]+", name)]
    assert len(names) == len(set(names))
