"""A workflow is read out of whatever file ComfyUI has put it into."""

from __future__ import annotations

import io
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest

from fakes.comfyui_recordings import video_graph
from fakes.saved_files import box, movie, png, with_exif
from wanworker.comfyui.graph.workflow_file import read_workflow_file, without_frames
from wanworker.errors import GraphRefused

SAVED = Path(__file__).parents[2] / "data/comfyui/saved_by_0.33.0.mp4"
DRAWN = {"nodes": [{"id": 1, "type": "EmptyImage"}], "links": [], "extra": {"note": "a \u00fc b"}}


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


BEYOND = struct.pack(">I4sQ", 1, b"mdat", 2**63)
LONG = struct.pack(">I4sQ", 1, b"mdat", 16 + 5000) + bytes(5000)


@pytest.mark.parametrize("frames", [box(b"mdat", bytes(5000)), LONG], ids=["short", "long"])
def test_the_frames_of_a_movie_are_not_read(frames: bytes) -> None:
    whole = movie({"workflow": TEXT}).replace(box(b"mdat", bytes(40)), frames)
    read = without_frames(io.BytesIO(whole), 100_000)

    assert len(read) == len(whole) - len(frames)
    assert DRAWN == read_workflow_file(read)


@pytest.mark.parametrize("data", [TEXT.encode(), png(workflow=TEXT), SAVED.read_bytes(), b"", b"ab"])
def test_what_has_a_workflow_keeps_it_without_its_frames(data: bytes) -> None:
    read = without_frames(io.BytesIO(data), 100_000)

    assert (read_workflow_file(read) == read_workflow_file(data)) if len(data) > 2 else read == data


@pytest.mark.parametrize("tail", [struct.pack(">I4s", 0, b"free"), struct.pack(">I4s", 3, b"free"), b"\0\0", BEYOND])
def test_reading_ends_with_a_size_that_cannot_be(tail: bytes) -> None:
    start = movie({"workflow": TEXT})

    assert DRAWN == read_workflow_file(without_frames(io.BytesIO(start + tail), 100_000))
    assert len(without_frames(io.BytesIO(start + tail + bytes(9000)), 2000)) <= 2000
