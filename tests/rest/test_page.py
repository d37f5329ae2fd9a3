"""The page's files, read as they are: what they name exists, what they know agrees with the server."""

from __future__ import annotations

import gzip
import json
import posixpath
import re
import tomllib
from collections.abc import AsyncIterator, Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from httpx import ASGITransport, AsyncClient

from wanworker.actions.generate.request import GenerateRequest
from wanworker.actions.request.fields import parse
from wanworker.app import Worker
from wanworker.engines._capabilities import MINI
from wanworker.models.miniature.weights import unknown_words
from wanworker.rest._app import create_app
from wanworker.rest.schemas.generate import GenerateBody
from wanworker.rest.schemas.page_tables import page_tables
from wanworker.settings import Settings
from wanworker.spec import TASKS

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "src" / "wanworker" / "rest" / "page"
DOCS = PAGE.parent / "docs_page"
SHELL = sorted(path for path in PAGE.rglob("*") if path.is_file() and path.suffix != ".txt")
OURS = [path for path in SHELL if path.parent.name != "vendor"]
SCRIPTS = [path for path in OURS if path.suffix == ".js"]


class Elements(HTMLParser):
    """Collect every element of a page as (tag, attributes)."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))


def text_of(name: str) -> str:
    return (PAGE / name).read_text(encoding="utf-8")


def name_of(path: Path) -> str:
    return path.relative_to(PAGE).as_posix()


@pytest.fixture
async def client(make_settings: Callable[..., Settings]) -> AsyncIterator[AsyncClient]:
    """Yield a client, without a key, of a server that has one."""
    settings = make_settings(api_key="sesame")
    transport = ASGITransport(app=create_app(Worker.from_settings(settings), settings))
    async with AsyncClient(transport=transport, base_url="http://server") as client:
        yield client


def palettes() -> Iterator[dict[str, str]]:
    """Yield the colours of the light scheme, then of the dark one."""
    css = text_of("style/base.css")
    light, dark = (
        dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{3,6})", part))
        for part in css.split("@media (prefers-color-scheme: dark)")
    )
    yield light
    yield light | dark


def luminance(colour: str) -> float:
    """Return the relative luminance of `#rgb` or `#rrggbb` (WCAG 2.2)."""
    digits = colour[1:] if len(colour) == 7 else "".join(digit * 2 for digit in colour[1:])
    channels = [int(digits[start : start + 2], 16) / 255 for start in (0, 2, 4)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, 1 to 21 (WCAG 2.2)."""
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_the_pages_travel_with_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

    assert project["tool"]["setuptools"]["package-data"]["wanworker.rest"] == ["page/**", "docs_page/*"]


@pytest.mark.parametrize(("place", "folder"), [("/ui", PAGE), ("/docs", DOCS)])
async def test_a_page_opens_without_the_key(client: AsyncClient, place: str, folder: Path) -> None:
    response = await client.get(place, follow_redirects=True)

    assert (200, f"{place}/") == (response.status_code, response.url.path)
    assert (folder / "index.html").read_text(encoding="utf-8") == response.text
    assert "frame-ancestors 'none'" in response.headers["content-security-policy"]
    assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ui/app.js", "text/javascript"),
        ("ui/style/base.css", "text/css"),
        ("ui/icon.svg", "image/svg+xml"),
        ("docs/swagger-ui-bundle.js", "text/javascript"),
        ("docs/swagger-ui.css", "text/css"),
    ],
)
async def test_their_files_come_without_the_key_and_as_what_they_are(client: AsyncClient, name: str, kind: str) -> None:
    response = await client.get(f"/{name}")

    assert (200, kind) == (response.status_code, response.headers["content-type"].partition(";")[0])


async def test_a_file_is_sent_packed_once_and_then_only_when_it_has_changed(client: AsyncClient) -> None:
    first = await client.get("/ui/app.js", headers={"Accept-Encoding": "gzip"})
    again = await client.get("/ui/app.js", headers={"If-None-Match": f'"other", {first.headers["etag"]}'})
    plain = await client.get("/ui/app.js", headers={"Accept-Encoding": "gzip;q=0, br"})

    assert (first.headers["content-encoding"], first.headers["cache-control"]) == ("gzip", "no-cache")
    assert int(first.headers["content-length"]) < len(text_of("app.js")) / 2
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert "content-encoding" not in plain.headers
    assert first.text == plain.text == text_of("app.js")


@pytest.mark.parametrize("name", ["nothing.js", "..%2f_app.py", "../_app.py", "style", "style/"])
async def test_what_is_no_file_of_the_page_is_not_found(client: AsyncClient, name: str) -> None:
    response = await client.get(f"/ui/{name}")

    assert response.status_code in {401, 404}
    assert "Build the FastAPI" not in response.text


async def test_the_schema_opens_without_the_key_and_asks_for_it(client: AsyncClient) -> None:
    response = await client.get("/openapi.json")
    schema = response.json()

    assert schema["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    assert schema["security"] == [{"key": []}]
    assert schema["paths"]["/"]["get"]["security"] == []
    assert "security" not in schema["paths"]["/jobs"]["get"]
    assert response.headers["etag"]


async def test_the_list_of_jobs_is_packed_and_says_when_nothing_is_new(client: AsyncClient) -> None:
    key = {"Authorization": "Bearer sesame"}
    first = await client.get("/jobs", headers=key)
    again = await client.get("/jobs", headers={**key, "If-None-Match": first.headers["etag"]})

    assert first.json()["jobs"] == []
    assert (again.status_code, first.headers["cache-control"]) == (304, "no-cache")


def test_the_shell_is_light() -> None:
    on_the_wire = {name_of(path): len(gzip.compress(path.read_bytes(), 6)) for path in SHELL}

    # 79.8 kB with every view; test_first_load.py holds what comes at first.
    assert sum(on_the_wire.values()) < 80_000, on_the_wire


@pytest.mark.parametrize("path", [*OURS, DOCS / "index.html", DOCS / "start.js"], ids=lambda path: path.name)
def test_nothing_comes_from_another_host(path: Path) -> None:
    text = path.read_text(encoding="utf-8").replace('xmlns="http://www.w3.org/2000/svg"', "")

    assert re.findall(r"(?:https?:)?//[\w.-]+\.\w+|url\(|@import|import\((?!.\./)", text) == []


@pytest.mark.parametrize("page", [PAGE / "index.html", DOCS / "index.html"], ids=["ui", "docs"])
def test_nothing_is_inline_and_every_file_is_there(page: Path) -> None:
    found = Elements(page).found
    inline = [tag for tag, attributes in found if tag == "style" or (tag == "script" and "src" not in attributes)]
    handlers = [name for _, attributes in found for name in attributes if name.startswith("on") or name == "style"]
    named = [attributes.get("src") or attributes["href"] for tag, attributes in found if tag in {"script", "link"}]

    assert (inline, handlers) == ([], [])
    written = {"../ui/icon.svg", "tables.json"}  # the other page's, and what the server writes itself
    assert [name for name in named if name not in written and not (page.parent / name).is_file()] == []


@pytest.mark.parametrize("path", OURS, ids=name_of)
def test_files_stay_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300


def imports_of(path: Path) -> Iterator[tuple[list[str], str]]:
    """Yield the names that a script takes and the script that it takes them from, as a path below the page."""
    pattern = r'^(?:import|export) (?:\{ ([^}]+) \}|\* as \w+) from "([^"]+)";$'
    for names, source in re.findall(pattern, path.read_text(encoding="utf-8"), re.MULTILINE):
        below = posixpath.normpath(posixpath.join(posixpath.dirname(name_of(path)), source))
        yield [name.strip() for name in names.split(",") if name.strip()], below
    for source in re.findall(r'import\("\./([^"]+)"\)', path.read_text(encoding="utf-8")):
        yield ["View"], posixpath.join(posixpath.dirname(name_of(path)), source)


def test_every_script_is_imported_and_every_import_takes_what_is_exported() -> None:
    imported = {"app.js"}
    for path in SCRIPTS:
        for names, source in imports_of(path):
            imported.add(source)
            text = text_of(source)
            exported = set(re.findall(r"export (?:async )?(?:const|function\*?|class) (\w+)", text))
            for group in re.findall(r"export ?\{([^}]+)\}", text):
                exported |= {part.split(" as ")[-1].strip() for part in group.split(",")}

            assert set(names) - exported == set(), (name_of(path), source)

    assert {name_of(path) for path in SHELL if path.suffix == ".js"} == imported


async def test_the_page_is_given_the_servers_own_tables(client: AsyncClient) -> None:
    tables = (await client.get("/ui/tables.json")).json()

    assert tables == json.loads(json.dumps(page_tables()))
    assert tables["numbers"]["steps"] == {"low": 1, "high": 200, "is_whole": True}
    assert tables["numbers"]["shift"] == {"low": 0.01, "high": 100, "is_whole": False}
    assert tables["modes"]["pair"] == {"files": ["image", "last_image"], "tasks": ["i2v-A14B"]}
    assert set(tables["tasks"]) == MINI.tasks, "the page offers what the miniature can show too"
    assert sorted(tables["tasks"]) == sorted({task for mode in tables["modes"].values() for task in mode["tasks"]})


def test_the_page_has_no_tables_of_its_own() -> None:
    tables = page_tables()
    shapes = [shapes for task in tables["tasks"].values() for shapes in task["sizes"].values()]
    sides = {side for sizes in shapes for size in sizes.values() for side in size}
    limits = {int(number["high"]) for number in tables["numbers"].values() if number["high"] > 150}
    copies = "|".join(map(str, [*tables["tasks"], *tables["engines"][:-1], *sorted(sides | limits)]))
    found = {name_of(path): re.findall(rf"\b(?:{copies})\b", path.read_text(encoding="utf-8")) for path in SCRIPTS}

    assert {name: words for name, words in found.items() if words} == {}


@pytest.mark.parametrize("name", page_tables()["tasks"])
def test_a_preset_is_taken_as_it_is(name: str) -> None:
    task = page_tables()["tasks"][name]
    sizes = [f"{width}*{height}" for shapes in task["sizes"].values() for width, height in shapes.values()]
    lengths = [*(task["frames"] or {"": None}).values()]

    assert len(sizes) == 6
    for size in sizes:
        for frames in lengths:
            fields = {"task": name, "prompt": "a", "size": size, "fps": task["fps"]}
            request, remarks = parse(GenerateRequest, fields if frames is None else {**fields, "frame_num": frames})
            parsed = request.checked_size()
            assert parsed is not None
            assert parsed.snapped(TASKS[name].size_multiple) == parsed
            assert (remarks, request.checked_frames(TASKS[name], remarks)) == ([], frames)


def test_the_page_sends_fields_that_the_server_knows() -> None:
    text = text_of("create/request.js")
    plain = re.search(r"function plainFields.*?filled\(\{(.*?)\n  \}\);", text, re.DOTALL)
    action = re.search(r"function actionFields.*?filled\(\{(.*?)\n  \}\);", text, re.DOTALL)
    assert plain is not None
    assert action is not None
    names = {
        kind: set(re.findall(r"^    (\w+)[:,]", found[1], re.MULTILINE))
        for kind, found in (("plain", plain), ("action", action))
    }

    assert names["plain"] - GenerateBody.model_fields.keys() == set()
    assert names["action"] - GenerateRequest.model_fields.keys() == {"action"}
    assert len(names["action"]) > 10


def test_the_miniature_knows_every_word_of_the_prompts_that_the_page_offers_for_it() -> None:
    offered = re.search(r"mini: \{(.*?)\]", text_of("create/presets.js"), re.DOTALL)
    assert offered is not None
    prompts = re.findall(r'^\s+"(.+)",$', offered[1], re.MULTILINE)

    assert len(prompts) >= 3
    assert {prompt: unknown_words(prompt) for prompt in prompts} == {prompt: [] for prompt in prompts}


@pytest.mark.parametrize("colours", [*palettes()], ids=["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(colours: dict[str, str]) -> None:
    texts = ("ink", "soft", "accent", "bad", "good")
    grounds = ("paper", "card", "tint")
    pairs = [(text, ground) for text in texts for ground in grounds] + [("on-accent", "accent"), ("ink", "raised")]
    pairs += [("stage-ink", "stage"), ("stage-soft", "stage")]
    weak = {pair: contrast(*(colours[name] for name in pair)) for pair in pairs}

    assert {pair: round(ratio, 2) for pair, ratio in weak.items() if ratio < 4.5} == {}


def test_what_is_not_ours_lies_with_its_licence() -> None:
    for folder, names in ((PAGE / "vendor", ("htm", "preact")), (DOCS, ("swagger-ui",))):
        assert [name for name in names if not (folder / f"{name}-LICENSE.txt").is_file()] == []


def test_the_servers_schema_is_json(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings()
    schema = create_app(Worker.from_settings(settings), settings).openapi()

    assert schema["security"] == [{}, {"key": []}]
    assert json.loads(json.dumps(schema)) == schema
