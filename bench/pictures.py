"""
Draw the pictures of the page in docs/images: page.png, page.webp and gallery.png, from renders of the miniature.

    python bench/pictures.py --folder /tmp/pictures

It needs Chromium, and a quiet moment, because a picture says what a job took. Videos that are in the folder from an
earlier run are not rendered again.
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

from fakes.rest_server import serving  # noqa: E402

IMAGES = ROOT / "docs" / "images"

#: The first one loads the model. The second one is on the stage.
PROMPTS = (
    "a small pink heart floats upwards over the sea",
    "a red star moves to the right over a green field",
    "a big blue ball bounces on a wooden floor",
    "a yellow heart above a purple square, both slide to the left in the snow",
    "a blue square under a yellow star at night",
    "an orange heart flies up over a green field",
    "a small pink star moves in a circle in the desert",
    "a green square moves to the left in a room",
)
#: What the page sends by default, and a seed.
FORM = {"width": 832, "height": 480, "length": 121, "fps": 24, "seed": 7}
ON_STAGE = PROMPTS[1]

FRAMES = 24


def render_all(address: str) -> str:
    """Render each prompt that has no video yet. Return the id of the job for the stage."""
    with httpx.Client(base_url=address, trust_env=False, timeout=60) as client:
        there = {job["prompt"] for job in client.get("/jobs?limit=100").json()["jobs"]}
        for prompt in PROMPTS:
            if prompt in there:
                continue
            job_id = client.post("/generate", json={"prompt": prompt, **FORM}).raise_for_status().json()["job_id"]
            while client.get(f"/status/{job_id}").json()["status"] not in {"completed", "error"}:
                time.sleep(0.5)
        jobs = client.get("/jobs?limit=100").json()["jobs"]
    return next(str(job["job_id"]) for job in jobs if job["prompt"] == ON_STAGE)


def opened(browser: Browser, address: str, size: tuple[int, int]) -> Page:
    """Return a page of a visitor who has read the remarks before."""
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme="dark")
    page = context.new_page()
    page.goto(address)
    page.wait_for_load_state("networkidle")
    page.reload()
    return page


def stage(browser: Browser, address: str, job_id: str, size: tuple[int, int]) -> Page:
    """Return the playground with the job on its stage, its prompt in the form, and the plan below that."""
    page = opened(browser, f"{address}/ui/#job/{job_id}", size)
    expect(page.locator("#player")).to_be_visible()
    page.get_by_label("Prompt", exact=True).fill(ON_STAGE)
    expect(page.locator("#plan .plan-more")).to_contain_text("mini-wan")
    page.locator("#player").evaluate("player => { player.pause(); player.controls = false; }")
    page.locator("#prompt").blur()
    return page


def seek(page: Page, share: float) -> None:
    """Show the frame at *share* of the film, 0 to 1."""
    page.locator("#player").evaluate(
        """(player, share) => new Promise((done) => {
            player.onseeked = () => requestAnimationFrame(() => requestAnimationFrame(done));
            player.currentTime = share * player.duration;
        })""",
        share,
    )


def frames(page: Page) -> Iterator[Image.Image]:
    """Yield the page with one frame of its film after the other."""
    for number in range(FRAMES):
        seek(page, (number + 0.5) / FRAMES)
        yield Image.open(io.BytesIO(page.screenshot())).convert("RGB")


def draw(browser: Browser, address: str, job_id: str) -> None:
    """Draw the three pictures."""
    page = stage(browser, address, job_id, (1440, 900))
    seek(page, 0.5)
    page.screenshot(path=IMAGES / "page.png")
    first, *others = (
        frame.resize((960, 600), Image.Resampling.LANCZOS)
        for frame in frames(stage(browser, address, job_id, (1280, 800)))
    )
    shown: dict[str, Any] = {"duration": 100, "loop": 0, "quality": 80, "method": 6}
    first.save(IMAGES / "page.webp", save_all=True, append_images=others, **shown)
    page = opened(browser, f"{address}/ui/#gallery", (1280, 800))
    expect(page.locator("#jobs img")).to_have_count(len(PROMPTS))
    page.screenshot(path=IMAGES / "gallery.png")


def main() -> None:
    """Render, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="Where the videos lie.")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with serving(folder, {"OUTPUT_TTL_S": "0"}) as address, sync_playwright() as playwright:
        job_id = render_all(address)
        draw(playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"]), address, job_id)


if __name__ == "__main__":
    main()
