"""The JSON files of a weights folder, whole and damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from wanworker.models.files.weight_index import json_object, weight_files


@pytest.mark.parametrize("text", ["", "[1]", "{", "\xff", "[" * 100_000])
def test_what_is_no_json_object_counts_as_an_empty_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text, encoding="latin-1")

    assert {} == json_object(tmp_path / "config.json")
    assert {} == json_object(tmp_path / "missing.json")


def test_the_index_names_each_file_once_and_without_one_there_is_a_single_file(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "2.st", "b": "1.st", "c": "2.st"}}')

    assert ["1.st", "2.st"] == weight_files(tmp_path, "model")
    assert ["other.safetensors"] == weight_files(tmp_path, "other")
