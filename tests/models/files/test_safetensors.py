from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest

from wanworker.models.files.safetensors import BrokenSafetensors, check_header, read_header

TENSORS = {
    "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
    "b": {"dtype": "BF16", "shape": [3], "data_offsets": [8, 14]},
    "__metadata__": {"format": "pt"},
}


def write(path: Path, header: Any = TENSORS, data: bytes = bytes(14), length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def test_the_header_of_a_whole_file_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "whole.safetensors")

    assert read_header(path) == TENSORS
    check_header(path)


def test_a_file_without_tensors_is_whole(tmp_path: Path) -> None:
    path = write(tmp_path / "empty.safetensors", {}, b"")

    assert read_header(path) == {}


def test_what_torch_independent_code_writes_is_whole(tmp_path: Path) -> None:
    numpy = pytest.importorskip("safetensors.numpy")
    array = pytest.importorskip("numpy").zeros((3, 5), "float16")
    numpy.save_file({"x": array}, tmp_path / "real.safetensors")

    assert list(read_header(tmp_path / "real.safetensors")) == ["x"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"data": bytes(13)}, "bytes are there"),
        ({"data": bytes(15)}, "bytes are there"),
        ({"length": 10_000}, "no safetensors header"),
        ({"length": 2**63}, "no safetensors header"),
        ({"length": 0}, "no safetensors header"),
        ({"header": b"{oh no}"}, "not JSON"),
        ({"header": b"\xff\xfe\xfd\xfc"}, "not JSON"),
        ({"header": [1, 2]}, "not a JSON object"),
        ({"header": {"a": {"dtype": "F32"}}}, "no data_offsets"),
        ({"header": {"a": 7}}, "no data_offsets"),
    ],
)
def test_damage_is_told(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    path = write(tmp_path / "broken.safetensors", **change)

    with pytest.raises(BrokenSafetensors, match=says):
        read_header(path)
    with pytest.raises(BrokenSafetensors, match=says):
        check_header(path)


def test_a_file_shorter_than_its_length_field_is_no_safetensors_file(tmp_path: Path) -> None:
    path = tmp_path / "stub.safetensors"
    path.write_bytes(b"abc")

    with pytest.raises(BrokenSafetensors, match="in a file of 3 bytes"):
        check_header(path)


def test_a_missing_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        check_header(tmp_path / "none.safetensors")


def test_the_answer_is_kept_until_the_file_changes(tmp_path: Path) -> None:
    path = write(tmp_path / "file.safetensors")
    check_header(path)
    facts = path.stat()

    path.write_bytes(bytes(facts.st_size))
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    check_header(path)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns + 1))

    with pytest.raises(BrokenSafetensors, match="no safetensors header"):
        check_header(path)
