"""ComfyUI's own page in Chromium: what it sends for a workflow, and when two graphs are the same run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from playwright.sync_api import Browser, Page, TimeoutError

#: After so many workflows a new page is opened: an old one keeps what it drew.
PER_PAGE = 40

#: The longest wait for the page, for its first visit, and for one workflow in it.
OPEN_MS, FIRST_MS, LOAD_MS = 180_000, 90_000, 60_000

#: Loads a workflow as a dropped file is loaded, and makes the graph that the Run button would send.
SENT = """async ([text, limit]) => {
  const late = new Promise((_, reject) => setTimeout(() => reject(new Error('the page loads for ever')), limit));
  await Promise.race([window.app.loadGraphData(JSON.parse(text), true, false, null, {silentAssetErrors: true}), late]);
  await new Promise(resolve => requestAnimationFrame(() => requestAnimationFrame(resolve)));
  return JSON.stringify((await window.app.graphToPrompt()).output);
}"""

#: A new page loads the classes, and then a workflow of its own, which would replace one that is loaded before it.
READY = """Object.keys(window.LiteGraph?.registered_node_types ?? {}).length > 300
  && window.app?.graph?.nodes.length > 0"""

Graph = Mapping[str, Mapping[str, Any]]


class Frontend:
    """The page of the server at *address*."""

    def __init__(self, browser: Browser, address: str) -> None:
        self._browser, self._address = browser, address
        self._page: Page | None = None
        self._loaded = 0

    def sent(self, workflow: str) -> dict[str, Any]:
        """Return the graph that the page makes of the *workflow*, a file's text."""
        if self._page is None or self._loaded >= PER_PAGE:
            self._open()
        assert self._page is not None
        self._loaded += 1
        graph: dict[str, Any] = json.loads(self._page.evaluate(SENT, [workflow, LOAD_MS]))
        return graph

    def version(self) -> str:
        """Return the version that the page names."""
        if self._page is None:
            self._open()
        assert self._page is not None
        return str(self._page.evaluate("window.__COMFYUI_FRONTEND_VERSION__"))

    def _open(self) -> None:
        if self._page is not None:
            self._page.context.close()
        self._page = self._browser.new_context(viewport={"width": 1400, "height": 900}).new_page()
        # The page asks before it is left; nobody is there to answer.
        self._page.add_init_script("addEventListener('beforeunload', event => event.stopImmediatePropagation(), true)")
        self._page.on("dialog", lambda dialog: dialog.accept())
        self._page.goto(self._address, wait_until="domcontentloaded")
        try:
            self._page.wait_for_function(READY, timeout=FIRST_MS)
        except TimeoutError:
            # To somebody who has never been there, the page offers its templates and loads no workflow of its own.
            self._page.reload(wait_until="domcontentloaded")
            self._page.wait_for_function(READY, timeout=OPEN_MS)
        self._page.wait_for_load_state("networkidle", timeout=OPEN_MS)
        self._loaded = 0


def run_of(graph: Graph, info: Mapping[str, Any]) -> Counter[str]:
    """
    Return what a server would run of *graph*: every node that an output needs, with all that it needs.

    Ids are left out: the page numbers nodes anew if two subgraphs have the same. So are inputs that the class does not
    declare, and pictures that the page itself renders (LOAD_3D).
    """
    told: dict[str, str] = {}

    def tell(node: str) -> str:
        if node not in graph:
            return "nothing"
        if node not in told:
            told[node] = "a circle"
            body, its_class = graph[node], graph[node]["class_type"]
            inputs = {
                name: _told_value(value, tell)
                for name, value in sorted(body["inputs"].items())
                if _is_read(name, info.get(its_class, {}))
            }
            told[node] = json.dumps([its_class, inputs])
        return told[node]

    outputs = [node for node, body in graph.items() if info.get(body["class_type"], {}).get("output_node")]
    for node in outputs:
        tell(node)
    return Counter(told.values())


def _told_value(value: Any, tell: Any) -> Any:
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str):
        return [hash(tell(value[0])), value[1]]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _is_read(name: str, its_class: Mapping[str, Any]) -> bool:
    for group in ("required", "optional"):
        spec = its_class.get("input", {}).get(group, {}).get(name.partition(".")[0])
        if spec:
            return bool(spec[0] != "LOAD_3D")
    return False
