"""
Ten prompts in plain English through the REST door with the miniature, from two source trees side by side.

    git worktree add --detach ../before d426128^                      the tree before the look of the miniature changed
    python bench/prompts.py --before ../before --out docs/images/prompts.webp

Each tree serves with its own code, in this Python. It gets what the page sends: prompt, size, length, rate and a seed,
and everything else by default. The sheet has three frames of each clip: the first, the middle one and the last.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

from fakes.rest_server import serving  # noqa: E402
from wanworker.media.video import ffmpeg  # noqa: E402

PROMPTS = (
    "a red ball bounces on a wooden floor",
    "a golden star drifts to the right across the night sky",
    "a small pink heart floats upwards over the sea",
    "a green cube slides to the left in the snow",
    "a huge orange triangle gets closer in the desert",
    "a white disk flies in a circle over green grass",
    "a yellow heart above a purple square, both slide to the left in the snow",
    "a blue box to the right of a red circle on a table",
    "a cat playing with a ball of yarn in slow motion",
    "a beautiful sunset over mountains with clouds moving",
)

FIELDS = {"width": 832, "height": 480, "length": 49, "fps": 24, "seed": 7, "engine": "mini"}

THUMB = (176, 102)
GAP = 6
HEAD = 26


def clips(tree: Path, folder: Path) -> Iterator[Path]:
    """Render every prompt with the code of *tree*, and yield the clips, which lie in *folder*."""
    folder.mkdir()
    variables = {"PYTHONPATH": str(tree / "src")}
    with serving(folder, variables) as address, httpx.Client(base_url=address, trust_env=False, timeout=900) as client:
        for number, prompt in enumerate(PROMPTS):
            started = client.post("/generate", json={**FIELDS, "prompt": prompt}).raise_for_status().json()
            with client.stream("GET", f"/events/{started['job_id']}") as events:
                assert "event: completed" in list(events.iter_lines()), prompt
            path = folder / f"{number}.mp4"
            path.write_bytes(client.get(f"/download/{started['job_id']}").raise_for_status().content)
            print(f"{tree.name}: {prompt}", flush=True)
            yield path


def frames(clip: Path) -> list[Image.Image]:
    """Return the first frame of *clip*, the middle one and the last."""
    wanted = "+".join(f"eq(n\\,{number})" for number in (0, FIELDS["length"] // 2, FIELDS["length"] - 1))
    target = clip.with_suffix("")
    argv = [
        ffmpeg.program(),
        "-loglevel",
        "error",
        "-i",
        str(clip),
        "-vf",
        f"select={wanted}",
        "-fps_mode",
        "passthrough",
    ]
    subprocess.run([*argv, f"{target}-%d.png"], check=True, stdin=subprocess.DEVNULL)
    return [
        Image.open(f"{target}-{number}.png").convert("RGB").resize(THUMB, Image.Resampling.LANCZOS)
        for number in (1, 2, 3)
    ]


def sheet(columns: dict[str, list[list[Image.Image]]]) -> Image.Image:
    """Return the picture: a row for each prompt, three frames of each column in it."""
    wide, high = THUMB
    row, column = HEAD + high + GAP, 3 * (wide + GAP)
    picture = Image.new("RGB", (len(columns) * (column + 3 * GAP), HEAD + len(PROMPTS) * row), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(15)
    for at, (title, rows) in enumerate(columns.items()):
        left = GAP + at * (column + 3 * GAP)
        draw.text((left, 5), title, "black", font)
        for number, found in enumerate(rows):
            for place, frame in enumerate(found):
                picture.paste(frame, (left + place * (wide + GAP), HEAD + number * row + HEAD))
    for number, prompt in enumerate(PROMPTS):
        draw.text((GAP, HEAD + number * row + 4), prompt, "#333333", font)
    return picture


def main() -> None:
    """Render both columns and write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True, help="The other source tree.")
    parser.add_argument("--out", type=Path, required=True, help="The sheet, a WebP.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        trees = {"Before": options.before.resolve(), "Now": ROOT}
        columns = {title: [frames(clip) for clip in clips(tree, Path(name, title))] for title, tree in trees.items()}
    sheet(columns).save(options.out, quality=82, method=6)


if __name__ == "__main__":
    main()
