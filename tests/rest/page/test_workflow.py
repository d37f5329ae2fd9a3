"""The workflow tab: a graph is dropped, checked with a ComfyUI server, set, and run."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from fakes.comfyui import FakeComfyUI
from fakes.comfyui_rules import recorded_object_info
from fakes.engine import write_clip
from fakes.graphs import saving
from fakes.in_thread import in_thread
from fakes.visitor import recent, violations
from fakes.wan.home import write_safetensors

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def address(serve: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of a server beside a ComfyUI that speaks the real wire and saves a real clip."""
    folder = tmp_path_factory.mktemp("comfyui")
    comfyui = FakeComfyUI(folder)
    comfyui.nodes.media[".mp4"] = write_clip(folder / "clip.mp4").read_bytes()
    with in_thread(comfyui):
        yield serve(COMFYUI_URL=comfyui.url)


def titled(graph: dict[str, Any]) -> dict[str, Any]:
    """Return the graph with a title for its first node."""
    return {**graph, "1": {**graph["1"], "_meta": {"title": "The background"}}}


def png_with(texts: dict[str, str]) -> bytes:
    """Return a small PNG with text chunks, as ComfyUI writes them."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    chunks = [chunk(b"tEXt", key.encode() + b"\0" + text.encode("latin-1")) for key, text in texts.items()]
    body = [chunk(b"IHDR", head), *chunks, chunk(b"IDAT", zlib.compress(b"\0\0")), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def drop(page: Page, name: str, content: bytes) -> None:
    kind = "image/png" if name.endswith("png") else "application/json"
    page.get_by_label("Drop a ComfyUI workflow here").set_input_files(
        {"name": name, "mimeType": kind, "buffer": content}
    )


def open_tab(open_page: Callable[..., Page], address: str, **options: Any) -> Page:
    page = open_page(f"{address}/ui/#workflow", **options)
    expect(page.locator(".big-drop")).to_be_visible()
    return page


@pytest.mark.parametrize("size", [(1440, 900), (390, 844)], ids=str)
def test_a_graph_is_checked_set_and_run(
    address: str, open_any: Callable[..., Page], size: tuple[int, int], tmp_path: Path
) -> None:
    page = open_tab(open_any, address, viewport={"width": size[0], "height": size[1]})
    drop(page, "stars.json", json.dumps(titled(saving("SaveVideo"))).encode())
    expect(page.locator("#graph-state")).to_have_text("Can run")
    node = page.get_by_role("region", name="Node 2")
    node.get_by_label("fps").fill("8")
    node.get_by_label("fps").press("Tab")
    page.get_by_text("1 more node").click()
    expect(page.get_by_role("region", name="Node 1: The background")).to_be_visible()
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") == size[0]
    page.screenshot(path=tmp_path / "workflow.png")

    with page.expect_response("**/v2/page/run") as answer:
        page.get_by_role("button", name="Run").click()
    sent = answer.value.request.post_data_json["input"]
    job_id = sent["request_id"]

    assert sent["workflow"]["2"]["inputs"]["fps"] == 8
    expect(recent(page, job_id)).to_have_attribute("data-state", "ready", timeout=60_000)
    expect(page.locator("#about-prompt")).to_have_text("stars.json")
    assert httpx.get(f"{address}/status/{job_id}", trust_env=False).json()["status"] == "completed"


def test_a_graph_that_was_changed_is_checked_again_before_it_runs(address: str, open_page: Callable[..., Page]) -> None:
    page = open_tab(open_page, address)
    drop(page, "stars.json", json.dumps(saving("SaveWEBM")).encode())
    expect(page.locator("#graph-state")).to_have_text("Can run")
    node = page.get_by_role("region", name="Node 9")
    run = page.get_by_role("button", name="Run")
    node.get_by_label("fps").fill("many")

    expect(node).to_contain_text("This must be a number.")
    expect(run).to_be_disabled()

    node.get_by_label("fps").fill("8")
    expect(node).not_to_contain_text("This must be a number.")
    expect(page.locator("#graph-state")).to_have_text("Changed")
    node.get_by_label("crf").fill("99")
    run.click()

    expect(page.locator("#problems")).to_contain_text("must be at most 63")
    expect(run).to_be_disabled()
    assert "#workflow" in page.url

    node.get_by_label("crf").fill("32")
    run.click()

    expect(page.locator("#about-prompt")).to_have_text("stars.json")


def test_a_loaders_picture_is_shown_and_another_graph_takes_the_place_of_the_first(
    address: str, open_page: Callable[..., Page]
) -> None:
    page = open_tab(open_page, address)
    loading = {"1": {"class_type": "LoadImage", "inputs": {"image": "first.png"}}}
    drop(page, "loads.json", json.dumps(saving("SaveWEBM") | loading).encode())
    loader = page.get_by_role("region", name="Node 1")
    expect(loader).to_contain_text("first.png")
    loader.get_by_label("Choose a picture").set_input_files(
        {"name": "dog.png", "mimeType": "image/png", "buffer": png_with({})}
    )

    expect(loader).to_contain_text("dog.png")
    expect(loader.get_by_role("img", name="image: dog.png")).to_be_visible()
    assert violations(page) == []

    drop_on(page, "#nodes", "stars.json", json.dumps(saving("SaveVideo")))

    expect(page.locator(".graph-name")).to_contain_text("stars.json")
    expect(page.locator("#graph-state")).to_have_text("Can run")

    drop_on(page, "#nodes", "torn.json", "{")

    expect(page.get_by_role("alert")).to_contain_text("torn.json: this is neither JSON")
    expect(page.locator(".graph-name")).to_contain_text("stars.json")


def drop_on(page: Page, place: str, name: str, text: str) -> None:
    """Let go of a file above *place*, as the mouse does."""
    make = """([name, text]) => {
        const data = new DataTransfer();
        data.items.add(new File([text], name, { type: "application/json" }));
        return data;
    }"""
    carried = page.evaluate_handle(make, [name, text])
    page.dispatch_event(place, "drop", {"dataTransfer": carried})


def test_every_problem_is_named_by_its_node(address: str, open_page: Callable[..., Page]) -> None:
    graph = saving("SaveWEBM")
    graph["9"]["inputs"] |= {"codec": "mpeg-9", "crf": "much"}
    graph["5"] = {"class_type": "NoSuchNode", "inputs": {}}
    page = open_tab(open_page, address)
    drop(page, "broken.json", json.dumps(graph).encode())
    expect(page.locator("#graph-state")).to_contain_text("problem")
    problems = page.locator("#problems")

    for node, said in (("5", "NoSuchNode"), ("9", "'mpeg-9' is none of"), ("9", "takes a number; got 'much'")):
        expect(problems.locator("li", has_text=f"Node {node}").filter(has_text=said)).to_have_count(1)
    expect(page.get_by_role("button", name="Run")).to_be_disabled()
    assert violations(page) == []


SAMPLING = {
    "3": {"class_type": "KSampler", "inputs": {"sampler_name": "eular", "scheduler": "simple", "steps": 4}},
    "4": {"class_type": "UNETLoader", "inputs": {"unet_name": "wan/lost_high_noise_14B.safetensors"}},
    "5": {"class_type": "VAELoader", "inputs": {"vae_name": "wan_2.1_vae.safetensors"}},
}


def shown_at_phone_width(page: Page) -> None:
    """Say that nothing is wider than the narrowest phone."""
    page.set_viewport_size({"width": 360, "height": 780})
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_choices_are_offered_and_a_value_that_the_server_lacks_is_marked(
    address: str, open_page: Callable[..., Page]
) -> None:
    page = open_tab(open_page, address)
    drop(page, "sampling.json", json.dumps(SAMPLING | saving("SaveWEBM")).encode())
    sampler, scheduler = (page.get_by_label(name) for name in ("sampler_name", "scheduler"))
    expect(scheduler.locator("option:checked")).to_have_text("simple")
    expect(sampler.locator("option:checked")).to_have_text("eular (not there)")
    page.get_by_text("more nodes").click()

    expect(sampler).to_have_accessible_description("The ComfyUI server does not have this here. Choose another one.")
    expect(page.get_by_label("unet_name")).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("vae_name")).to_have_value("wan_2.1_vae.safetensors")
    expect(page.get_by_label("vae_name")).not_to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("steps")).to_have_js_property("tagName", "INPUT")
    assert violations(page) == []

    sampler.focus()
    sampler.press("Home")
    sampler.press("ArrowDown")

    expect(sampler).not_to_have_attribute("aria-invalid", "true")
    expect(page.locator("#graph-state")).to_have_text("Changed")
    expect(sampler.locator("option", has_text="not there")).to_have_count(0)
    shown_at_phone_width(page)


def test_the_choices_inside_a_choice_follow_it_and_numbers_stay_numbers(
    serve: Callable[..., str], open_any: Callable[..., Page], tmp_path: Path
) -> None:
    info = recorded_object_info("0.33.0")
    info["SaveAudioAdvanced"]["input"]["required"]["times"] = ["COMBO", {"options": [1, 2, 4]}]
    graph = saving("SaveAudio") | {
        "9": {
            "class_type": "SaveAudioAdvanced",
            "inputs": {
                "audio": ["2", 0], "filename_prefix": "a", "format": "mp3", "format.quality": "320k", "times": 2,
            },
        }
    }  # fmt: skip
    comfyui = FakeComfyUI(tmp_path, info=info, version="0.33.0")
    with in_thread(comfyui):
        page = open_tab(open_any, serve(COMFYUI_URL=comfyui.url))
        drop(page, "sound.json", json.dumps(graph).encode())
        quality = page.get_by_label("format.quality")
        expect(quality.locator("option")).to_have_text(["V0", "128k", "320k"])
        page.get_by_label("format", exact=True).select_option("opus")

        expect(quality.locator("option")).to_have_text(["64k", "96k", "128k", "192k", "320k"])
        expect(quality).to_have_value("320k")

        page.get_by_label("times").select_option("4")
        with page.expect_request(lambda request: "validate_only" in (request.post_data or "")) as checked:
            page.get_by_role("button", name="Check again").click()
        sent = checked.value.post_data_json["input"]["workflow"]["9"]["inputs"]
        assert (sent["times"], sent["format"], sent["format.quality"]) == (4, "opus", "320k")


def browsers(*more: dict[str, Any], codec: str = "vp9") -> bytes:
    """Return a small workflow as the browser saves it, with *more* nodes that are linked to its picture."""
    picture = {"id": 1, "type": "EmptyImage", "inputs": [], "widgets_values": [64, 64, 4, 255]}
    taken = {"inputs": [{"name": "images", "type": "IMAGE", "link": 1}]}
    saver = {"id": 9, "type": "SaveWEBM", **taken, "widgets_values": ["ComfyUI", codec, 16, 32]}
    others = [{**node, "inputs": [{"name": "images", "type": "IMAGE", "link": 2}]} for node in more]
    links = [[1, 1, 0, 9, 0, "IMAGE"], *([2, 1, 0, node["id"], 0, "IMAGE"] for node in more)]
    return json.dumps({"nodes": [picture, saver, *others], "links": links}).encode()


def test_a_workflow_of_the_browser_has_choices_once_it_is_converted(
    address: str, open_page: Callable[..., Page]
) -> None:
    page = open_tab(open_page, address)
    drop(page, "browser.json", browsers())

    expect(page.get_by_label("codec").locator("option")).to_have_text(["vp9", "av1"])
    expect(page.get_by_label("codec")).to_have_value("vp9")


def test_a_workflow_of_the_browser_is_told_its_unknown_classes_and_all_else(
    address: str, open_page: Callable[..., Page]
) -> None:
    page = open_tab(open_page, address)
    drop(page, "browser.json", browsers({"id": 5, "type": "NoSuchNode"}, codec="mpeg-9"))
    problems = page.locator("#problems li")

    expect(problems).to_have_count(2)
    expect(problems.nth(0)).to_contain_text("'NoSuchNode' (node 5)")
    expect(problems.nth(1)).to_contain_text("Node 9")
    expect(problems.nth(1)).to_contain_text("'mpeg-9' is none of 'vp9', 'av1'")


#: Each case: the inputs of a node, what is known of its input `name`, and the place of its value, whether others may be
#: written, and whether something is wrong with it. None: nothing is known.
KNOWN: dict[str, tuple[dict[str, Any], dict[str, Any] | None, tuple[int, bool, bool] | None]] = {
    "one of them": ({"name": "b"}, {"choices": ["a", "b"]}, (1, False, False)),
    "none of them": ({"name": "c"}, {"choices": ["a", "b"]}, (-1, False, True)),
    "a number": ({"name": 2}, {"choices": [1, 2]}, (1, False, False)),
    "text for a number": ({"name": "2"}, {"choices": [1, 2]}, (-1, False, True)),
    "slashes of Windows": ({"name": "wan\\a.safetensors"}, {"choices": ["wan/a.safetensors"]}, (0, False, False)),
    "an upload": ({"name": "deep/c.png"}, {"choices": ["a.png"], "others": True}, (-1, True, False)),
    "nothing to choose": ({"name": "c"}, {"choices": []}, (-1, True, True)),
    "choices of the author": ({"name": "c", "option1": "c"}, {"choices": []}, None),
    "another choice": ({"name": "c", "format": "mp4"}, {"choices": ["c"], "when": {"format": "webm"}}, None),
    "unknown": ({"name": "c"}, None, None),
}


def test_what_is_known_of_an_input_decides_how_it_is_set(address: str, open_any: Callable[..., Page]) -> None:
    page = open_tab(open_any, address)
    given = [[{"class_type": "Made", "inputs": inputs}, row] for inputs, row, _ in KNOWN.values()]
    found = page.evaluate(
        """async (cases) => {
            const { choicesOf } = await import("./workflow/choices.js");
            const known = (row) => ({ source: "server", choices: row ? { Made: [{ input: "name", ...row }] } : {} });
            return cases.map(([node, row]) => choicesOf(node, "name", known(row)));
        }""",
        given,
    )

    said = [found and (found["at"], found["isFree"], found["trouble"] != "") for found in found]
    assert dict(zip(KNOWN, said, strict=True)) == {case: wanted for case, (_, _, wanted) in KNOWN.items()}


def test_while_the_server_is_offline_the_files_of_the_folders_are_offered_beside_free_text(
    serve: Callable[..., str], open_page: Callable[..., Page], tmp_path: Path
) -> None:
    (tmp_path / "vae").mkdir()
    write_safetensors(tmp_path / "vae" / "wan_2.1_vae.safetensors")
    page = open_tab(open_page, serve(COMFYUI_URL="http://127.0.0.1:9", WAN_CKPT_DIR=str(tmp_path)))
    graph = SAMPLING | saving("SaveWEBM")
    graph["5"]["inputs"]["vae_name"] = "lost_vae.safetensors"
    drop(page, "sampling.json", json.dumps(graph).encode())
    page.get_by_text("3 more nodes, 1 marked").click()
    vae = page.get_by_label("vae_name")

    expect(vae).to_have_accessible_description("There is no such file in the folders of the models.")
    expect(page.locator("datalist option")).to_have_attribute("value", "wan_2.1_vae.safetensors")
    expect(page.get_by_label("unet_name")).not_to_have_attribute("aria-invalid", "true")
    assert violations(page) == []

    vae.fill("wan_2.1_vae.safetensors")

    expect(vae).not_to_have_attribute("aria-invalid", "true")
    shown_at_phone_width(page)


def test_a_picture_that_comfyui_saved_brings_its_workflow(address: str, open_page: Callable[..., Page]) -> None:
    page = open_tab(open_page, address)
    drop(page, "notes.png", png_with({"Comment": "nothing"}))
    expect(page.locator(".big-drop .error")).to_contain_text("no workflow is in this picture")
    drop(page, "saved.png", png_with({"prompt": json.dumps(saving("SaveWEBM"))}))

    expect(page.locator("#graph-state")).to_have_text("Can run")
    expect(page.locator(".graph-name")).to_contain_text("saved.png")


@pytest.mark.parametrize("content", [b"{", b"[1]", b'{"a": 1}', b"null"], ids=["torn", "list", "object", "null"])
def test_what_is_no_workflow_is_said(address: str, open_page: Callable[..., Page], content: bytes) -> None:
    page = open_tab(open_page, address)
    drop(page, "other.json", content)

    expect(page.locator(".big-drop .error")).to_contain_text("other.json: ")


def test_without_a_comfyui_server_the_page_says_so(serve: Callable[..., str], open_page: Callable[..., Page]) -> None:
    page = open_tab(open_page, serve(COMFYUI_URL="http://127.0.0.1:9"))
    expect(page.locator("#graph-server")).to_contain_text("ComfyUI is offline")
    drop(page, "stars.json", json.dumps(saving("SaveWEBM")).encode())

    expect(page.locator("#graph-state")).to_have_text("Not checked")
    expect(page.get_by_role("alert")).to_contain_text("ComfyUI server is not responding")
