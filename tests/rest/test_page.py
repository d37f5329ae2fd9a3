"""The page's files, read as they are: what they name exists, and nothing comes from elsewhere."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from httpx import ASGITransport, AsyncClient

from wanworker.app import Worker
from wanworker.models.miniature.weights import unknown_words
from wanworker.rest._app import create_app
from wanworker.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "src" / "wanworker" / "rest" / "page"
SCRIPTS = sorted(PAGE.glob("*.js"))
CONTROLS = {"input", "textarea", "select", "button", "progress", "video"}


class Elements(HTMLParser):
    """Collect every element as (tag, attributes), and what stands inside each button."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.feed((PAGE / "index.html").read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))

    def ids(self) -> list[str]:
        """Return the ids in their order."""
        return [attributes["id"] for _, attributes in self.found if "id" in attributes]


@pytest.fixture(scope="module")
def elements() -> Elements:
    return Elements()


def text_of(name: str) -> str:
    return (PAGE / name).read_text(encoding="utf-8")


@pytest.fixture
async def client(make_settings: Callable[..., Settings]) -> AsyncIterator[AsyncClient]:
    """Yield a client, without a key, of a server that has one."""
    settings = make_settings(api_key="sesame")
    transport = ASGITransport(app=create_app(Worker.from_settings(settings), settings))
    async with AsyncClient(transport=transport, base_url="http://server") as client:
        yield client


def palettes() -> Iterator[dict[str, str]]:
    """Yield the colours of the light scheme, then of the dark one."""
    css = text_of("style.css")
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


def test_the_page_travels_with_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

    assert project["tool"]["setuptools"]["package-data"]["wanworker.rest"] == ["page/*"]
    assert [path for path in PAGE.iterdir() if not path.is_file()] == []


async def test_the_page_opens_without_the_key(client: AsyncClient) -> None:
    response = await client.get("/ui", follow_redirects=True)

    assert (200, "/ui/") == (response.status_code, response.url.path)
    assert text_of("index.html") == response.text


@pytest.mark.parametrize(
    ("name", "kind"), [("app.js", "text/javascript"), ("style.css", "text/css"), ("icon.svg", "image/svg+xml")]
)
async def test_its_files_come_without_the_key_and_as_what_they_are(client: AsyncClient, name: str, kind: str) -> None:
    response = await client.get(f"/ui/{name}")

    assert (200, kind) == (response.status_code, response.headers["content-type"].partition(";")[0])


async def test_the_schema_has_what_the_form_takes_from_it(
    elements: Elements, make_settings: Callable[..., Settings]
) -> None:
    settings = make_settings()
    schema = create_app(Worker.from_settings(settings), settings).openapi()
    body = schema["paths"]["/generate"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    fields = schema["components"]["schemas"][body["$ref"].rpartition("/")[2]]["properties"]
    controls = [
        attributes for tag, attributes in elements.found if tag in {"input", "textarea"} and "name" in attributes
    ]
    numbers = [attributes["name"] for attributes in controls if attributes.get("type") == "number"]

    assert {attributes["name"] for attributes in controls} - fields.keys() == set()
    assert len(numbers) == 6
    assert [name for name in numbers if not {"default", "minimum", "maximum"} <= fields[name].keys()] == []


def test_the_page_is_light() -> None:
    total = sum(path.stat().st_size for path in PAGE.iterdir())

    assert total < 60_000


@pytest.mark.parametrize("path", sorted(PAGE.iterdir()), ids=lambda path: path.name)
def test_nothing_comes_from_another_host(path: Path) -> None:
    text = path.read_text(encoding="utf-8").replace('xmlns="http://www.w3.org/2000/svg"', "")

    assert re.findall(r"(?:https?:)?//[\w.-]+\.\w+|url\(|@import", text) == []


def test_nothing_is_inline(elements: Elements) -> None:
    handlers = [name for _, attributes in elements.found for name in attributes if name.startswith("on")]
    inline = [
        tag for tag, attributes in elements.found if tag == "style" or (tag == "script" and "src" not in attributes)
    ]
    styled = [attributes for _, attributes in elements.found if "style" in attributes]

    assert (handlers, inline, styled) == ([], [], [])


def test_ids_are_unique(elements: Elements) -> None:
    assert [name for name, count in Counter(elements.ids()).items() if count > 1] == []


def test_every_control_has_a_name_for_screen_readers(elements: Elements) -> None:
    labelled = {attributes["for"] for tag, attributes in elements.found if tag == "label"}
    nameless = [
        attributes
        for tag, attributes in elements.found
        if tag in CONTROLS - {"button"}
        and attributes.get("id") not in labelled
        and not attributes.keys() & {"aria-label", "aria-labelledby"}
    ]

    assert nameless == []


def test_every_reference_inside_the_page_leads_somewhere(elements: Elements) -> None:
    ids = set(elements.ids())
    names = ("for", "aria-labelledby", "aria-describedby")
    used = {word for _, attributes in elements.found for name in names for word in attributes.get(name, "").split()}

    assert used - ids == set()


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_every_id_that_a_script_names_is_in_the_page(path: Path, elements: Elements) -> None:
    used = set(re.findall(r'byId\("([^"]+)"\)', path.read_text(encoding="utf-8")))

    assert used - set(elements.ids()) == set()


def test_every_script_is_imported_and_every_import_exists() -> None:
    imported = {
        name for path in SCRIPTS for name in re.findall(r'from "\./([\w.]+)"', path.read_text(encoding="utf-8"))
    }

    assert {path.name for path in SCRIPTS} == imported | {"app.js"}


def test_every_import_takes_what_the_other_script_exports() -> None:
    for path in SCRIPTS:
        for names, source in re.findall(r'import \{ ([^}]+) \} from "\./([\w.]+)"', path.read_text(encoding="utf-8")):
            exported = set(re.findall(r"export (?:async )?(?:const|function\*?|class) (\w+)", text_of(source)))

            assert set(names.split(", ")) - exported == set(), (path.name, source)


def test_the_miniature_knows_every_word_of_the_prompts_that_the_page_offers_for_it() -> None:
    offered = re.search(r"mini: \{(.*?)\]", text_of("form.js"), re.DOTALL)
    assert offered is not None
    prompts = re.findall(r'^\s+"(.+)",$', offered[1], re.MULTILINE)

    assert len(prompts) >= 3
    assert {prompt: unknown_words(prompt) for prompt in prompts} == {prompt: [] for prompt in prompts}


@pytest.mark.parametrize("colours", [*palettes()], ids=["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(colours: dict[str, str]) -> None:
    texts = ("ink", "soft", "accent", "bad")
    grounds = ("paper", "card", "tint")
    pairs = [(text, ground) for text in texts for ground in grounds] + [("on-accent", "accent"), ("card", "bad")]
    weak = {pair: contrast(*(colours[name] for name in pair)) for pair in pairs}

    assert {pair: round(ratio, 2) for pair, ratio in weak.items() if ratio < 4.5} == {}
