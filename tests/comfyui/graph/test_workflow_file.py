"""A workflow is read out of whatever file ComfyUI has put it into."""

from __future__ import annotations

import io
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from fakes.comfyui_recordings import video_graph
from wanworker.comfyui.graph.workflow_file import read_workflow_file
from wanworker.errors import GraphRefused

SAVED = Path(__file__).parents[2] / "data/comfyui/saved_by_0.33.0.mp4"
DRAWN = {"nodes": [{"id": 1, "type": "EmptyImage"}], "links": [], "extra": {"note": "a \u00fc b"}}


def png(**texts: str) -> bytes:
    info, out = PngImagePlugin.PngInfo(), io.BytesIO()
    for name, text in texts.items():
        info.add_itxt(name, text)
    Image.new("RGB", (8, 8)).save(out, "PNG", pnginfo=info)
    return out.getvalue()


def with_exif(kind: str, **texts: str) -> bytes:
    """As ComfyUI's SaveAnimatedWEBP writes them: into the tags of a camera's model and make."""
    picture, out = Image.new("RGB", (8, 8)), io.BytesIO()
    exif = picture.getexif()
    for tag, (name, text) in zip((0x0110, 0x010F), texts.items(), strict=False):
        exif[tag] = f"{name}:{text}"
    picture.save(out, kind, exif=exif)
    return out.getvalue()


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body


def movie(texts: dict[str, str], *, is_quicktime: bool = False) -> bytes:
    keys = b"".join(box(b"mdta", name.encode()) for name in texts)
    values = b"".join(
        box(struct.pack(">I", number), box(b"data", struct.pack(">II", 1, 0) + text.encode()))
        for number, text in enumerate(texts.values(), start=1)
    )
    body = box(b"hdlr", bytes(24)) + box(b"keys", struct.pack(">II", 0, len(texts)) + keys) + box(b"ilst", values)
    meta = box(b"meta", body if is_quicktime else bytes(4) + body)
    return box(b"ftyp", b"isom") + box(b"mdat", bytes(40)) + box(b"moov", meta if is_quicktime else box(b"udta", meta))


TEXT = json.dumps(DRAWN)


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        b"\xef\xbb\xbf" + TEXT.encode(),
        json.dumps({"workflow": DRAWN, "output": {}}).encode(),
        png(workflow=TEXT),
        png(workflow=TEXT, prompt="{}", parameters="steps: 20"),
        with_exif("WEBP", workflow=TEXT),
        with_exif("JPEG", Workflow=TEXT),
        movie({"encoder": "Lavf", "workflow": TEXT}),
        movie({"workflow": TEXT}, is_quicktime=True),
    ],
)
def test_the_browsers_format_is_found(data: bytes) -> None:
    assert DRAWN == read_workflow_file(data)


@pytest.mark.parametrize("make", [lambda texts: png(**texts), lambda texts: with_exif("WEBP", **texts), movie])
def test_the_api_format_is_taken_before_the_browsers(make: Any) -> None:
    graph = video_graph()

    assert graph == read_workflow_file(make({"prompt": json.dumps(graph), "workflow": TEXT}))


def test_a_video_that_a_real_server_saved_has_its_graph() -> None:
    graph = read_workflow_file(SAVED.read_bytes())

    assert {"EmptyImage", "CreateVideo", "SaveVideo"} == {body["class_type"] for body in graph.values()}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "neither JSON nor"),
        (b"hello", "neither JSON nor"),
        (b"\x00\x01" * 50, "neither JSON nor"),
        (png(), "no workflow in it"),
        (png(workflow="[1]"), "no workflow in it"),
        (png(workflow=TEXT)[:30], "cannot be read"),
        (movie({"encoder": "Lavf"}), "no workflow in it"),
        (movie({"workflow": TEXT})[:-60], "no workflow in it"),
        (b"RIFF\0\0\0\0WAVE", "cannot be read"),
        (b"[1, 2]", "no workflow"),
    ],
)
def test_a_file_without_one_is_refused_in_words(data: bytes, said: str) -> None:
    with pytest.raises(GraphRefused, match=said):
        read_workflow_file(data)


def test_a_picture_that_claims_to_be_huge_is_refused_in_words() -> None:
    data = bytearray(png(workflow=json.dumps(DRAWN)))
    data[16:24] = struct.pack(">II", 60_000, 60_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))

    with pytest.raises(GraphRefused, match="metadata cannot be read: Image size"):
        read_workflow_file(bytes(data))


def test_a_movie_cut_anywhere_is_refused_or_read_and_nothing_else() -> None:
    whole = movie({"workflow": TEXT})
    for end in range(0, len(whole), 7):
        try:
            assert DRAWN == read_workflow_file(whole[:end])
        except GraphRefused:
            continue
